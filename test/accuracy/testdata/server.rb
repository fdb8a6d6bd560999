# SPDX-License-Identifier: Apache-2.0
# A server with a thread for each connection: server.rb PORT [TLSPORT CERTIFICATE KEY]
require "openssl"
require "socket"

TRAP = "HTTP/1.1 500 Trap\r\n\r\n"

def filler(n)
  (TRAP * (n / TRAP.size + 1))[0, n]
end

def read_body(c, header)
  return c.read(header["content-length"].to_i) unless header["transfer-encoding"] == "chunked"
  data = +""
  while (size = c.gets.to_i(16)) > 0
    data << c.read(size)
    c.gets
  end
  nil until c.gets.strip.empty?
  data
end

def chunks(body, trailer)
  body.scan(/.{1,1000}/m).map { |s| "#{s.bytesize.to_s(16)}\r\n#{s}\r\n" }.join + "0\r\n#{trailer}\r\n"
end

# Answers a request; false ends the connection.
def one(c)
  line = c.gets or return false
  method, path, version = line.split
  return false unless %w[HTTP/1.0 HTTP/1.1].include?(version)
  header = {}
  while (line = c.gets) && !line.strip.empty?
    name, value = line.split(":", 2)
    header[name.downcase] = value.strip
  end
  c.write "HTTP/1.1 100 Continue\r\n\r\n" if header["expect"]
  body = read_body(c, header)
  _, what, *rest = path.split("/")
  c.write "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n" if what == "early"
  case what
  when "bytes", "early", "echo"
    body = filler(rest[0].to_i) unless what == "echo"
    head = "HTTP/1.1 200 OK\r\nServer: ruby\r\nContent-Length: #{body.bytesize}\r\n\r\n"
    c.write(method == "HEAD" ? head : head + body)
  when "stream"
    c.write "HTTP/1.1 200 OK\r\nServer: ruby\r\nConnection: close\r\n\r\n"
    c.write filler(rest[0].to_i)
    return false
  when "chunked", "trailers"
    c.write "HTTP/1.1 200 OK\r\nServer: ruby\r\nTransfer-Encoding: chunked\r\n\r\n"
    c.write chunks(filler(rest[0].to_i), what == "trailers" ? "X-Sum: 1\r\n" : "")
  when "status"
    c.write "HTTP/1.1 #{rest[0]} Empty\r\nServer: ruby\r\n\r\n"
  when "part"
    c.write "HTTP/1.1 200 OK\r\nContent-Length: #{rest[1]}\r\n\r\n" + filler(rest[0].to_i)
    c.read(1)
    return false
  when "upgrade"
    c.write "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    while (data = c.readpartial(4096))
      c.write data
    end
  else # drop
    return false
  end
  header["connection"] != "close"
end

def converse(c)
  c.accept if c.is_a?(OpenSSL::SSL::SSLSocket)
  nil while one(c)
rescue SystemCallError, IOError, OpenSSL::SSL::SSLError, NoMethodError, ArgumentError
  # clients that break off, or speak something else, are part of the test
ensure
  c.close
end

def serve(port, context = nil)
  server = TCPServer.new("127.0.0.1", port.to_i)
  server.listen(128)
  loop do
    c = server.accept
    c.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
    if context
      c = OpenSSL::SSL::SSLSocket.new(c, context)
      c.sync_close = true
    end
    Thread.new { converse(c) }
  end
end

Thread.report_on_exception = false
if ARGV.size > 1
  context = OpenSSL::SSL::SSLContext.new
  context.cert = OpenSSL::X509::Certificate.new(File.read(ARGV[2]))
  context.key = OpenSSL::PKey.read(File.read(ARGV[3]))
  Thread.new { serve(ARGV[1], context) }
end
serve(ARGV[0])
