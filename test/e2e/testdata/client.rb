# SPDX-License-Identifier: Apache-2.0
# Makes the HTTP requests that it reads as JSON lines from standard input.
require "json"
require "net/http"

connections = {}
open = lambda do |uri|
  http = Net::HTTP.new(uri.host, uri.port)
  http.use_ssl = uri.scheme == "https"
  http.max_retries = 0
  http.start
end
$stdin.each_line do |line|
  r = JSON.parse(line)
  uri = URI(r["url"])
  http = r["keepalive"] ? (connections[uri.port] ||= open.call(uri)) : open.call(uri)
  request = Net::HTTPGenericRequest.new(r["method"], !r["body"].empty?, r["method"] != "HEAD", uri)
  request.body = r["body"] unless r["body"].empty?
  request["Connection"] = "close" unless r["keepalive"]
  http.request(request)
  http.finish unless r["keepalive"]
end
connections.each_value(&:finish)
