# SPDX-License-Identifier: Apache-2.0
# Net::HTTP as everybody uses it: client.rb URL [CERTIFICATE] < requests
require "net/http"
require "stringio"
require "uri"

TRAP = "HTTP/1.1 500 Trap\r\n\r\n"

def filler(n)
  (TRAP * (n / TRAP.size + 1))[0, n]
end

def call(http, method, path, size, flags)
  request = { "GET" => Net::HTTP::Get, "HEAD" => Net::HTTP::Head, "POST" => Net::HTTP::Post }[method].new(path)
  request["Connection"] = "close" if flags.include?("close")
  request["Cookie"] = "session=" + "c" * 3072 if flags.include?("bighead")
  request["Expect"] = "100-continue" if flags.include?("continue")
  if flags.include?("chunked")
    request["Transfer-Encoding"] = "chunked"
    request.body_stream = StringIO.new(filler(size))
  elsif method == "POST"
    request.body = filler(size)
  end
  http.request(request)
end

at = URI(ARGV[0])
http = Net::HTTP.new(at.host, at.port, nil)
http.max_retries = 0
http.keep_alive_timeout = 60
http.continue_timeout = 60
if ARGV.size > 1
  http.use_ssl = true
  http.ca_file = ARGV[1]
end
http.start
$stdin.each_line do |line|
  method, path, size, *flags = line.split
  http.start unless http.started?
  call(http, method, path, size.to_i, flags)
rescue EOFError, Errno::ECONNRESET
  raise unless flags.include?("unanswered")
  http.finish if http.started?
end
