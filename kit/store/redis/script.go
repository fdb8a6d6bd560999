// SPDX-License-Identifier: Apache-2.0

package redis

import "github.com/redis/go-redis/v9"

// Scripts make a method atomic. Bytes are a string of Redis, a set is a set, a counter and a bucket are hashes of one field each. A
// command on another kind fails with WRONGTYPE by itself, but for the two hashes.

//nolint:gochecknoglobals // constants
var (
	compareAndSwap = redis.NewScript(`
local there = redis.call('GET', KEYS[1])
if (ARGV[1] == '1') ~= (there == false) or there and there ~= ARGV[2] then return {0} end
redis.call('SET', KEYS[1], ARGV[3])
if ARGV[4] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return {1}`)

	add = redis.NewScript(`
if redis.call('HEXISTS', KEYS[1], 'full') == 1 then return redis.error_reply('WRONGTYPE bucket') end
local fresh = redis.call('EXISTS', KEYS[1]) == 0
local sum = redis.call('HINCRBY', KEYS[1], 'sum', ARGV[1])
if fresh and ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {sum}`)

	setAdd = redis.NewScript(`
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return {1} end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return {0} end
redis.call('SADD', KEYS[1], ARGV[1])
if ARGV[3] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) else redis.call('PERSIST', KEYS[1]) end
return {1}`)

	// The bucket is when it will be full, in microseconds of the server's clock.
	take = redis.NewScript(`
if redis.call('HEXISTS', KEYS[1], 'sum') == 1 then return redis.error_reply('WRONGTYPE counter') end
local n, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]
local full = math.max(now, tonumber(redis.call('HGET', KEYS[1], 'full') or 0))
local debt, wait = full - now - burst / rate * 1e6, 0
if debt >= 0 then wait = math.ceil(debt) + 1 end
if wait > 0 and ARGV[4] == '0' then return {0, wait} end
full = full + math.min(n / rate * 1e6, 3e15)
redis.call('HSET', KEYS[1], 'full', string.format('%.0f', full))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((full - now) / 1e3) + 1))
return {1, wait}`)
)
