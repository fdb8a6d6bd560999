// SPDX-License-Identifier: Apache-2.0
// The relay on the JDK's server: java Relay.java LISTEN UPSTREAM blocking|client. A pool of threads serves requests; `client` is the
// JDK's HttpClient, which sends on threads of its own.

import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.Executors;

public class Relay {
    public static void main(String[] args) throws Exception {
        String[] listen = args[0].split(":");
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpServer server = HttpServer.create(new InetSocketAddress(listen[0], Integer.parseInt(listen[1])), 512);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", x -> {
            URI upstream = URI.create("http://" + args[1] + x.getRequestURI().getPath());
            byte[] body;
            if (args[2].equals("client")) {
                try {
                    body = client.send(HttpRequest.newBuilder(upstream).build(), HttpResponse.BodyHandlers.ofByteArray()).body();
                } catch (InterruptedException e) {
                    throw new RuntimeException(e);
                }
            } else {
                try (var in = upstream.toURL().openStream()) {
                    body = in.readAllBytes();
                }
            }
            x.sendResponseHeaders(200, body.length);
            x.getResponseBody().write(body);
            x.close();
        });
        server.start();
    }
}
