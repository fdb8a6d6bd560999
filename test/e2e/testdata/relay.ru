# SPDX-License-Identifier: Apache-2.0
# The relay as a Rack application: UPSTREAM is in the environment.
require 'net/http'

run lambda { |env|
  answer = Net::HTTP.get_response(URI("http://#{ENV.fetch('UPSTREAM')}#{env['PATH_INFO']}"))
  ['200', { 'Content-Length' => answer.body.bytesize.to_s }, [answer.body]]
}
