// SPDX-License-Identifier: Apache-2.0
// The JDK's own HTTP server: java Server PORT [TLSPORT CERTIFICATE KEY]

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

public class Server {
    static final String TRAP = "HTTP/1.1 500 Trap\r\n\r\n";

    static byte[] filler(int n) {
        return TRAP.repeat(n / TRAP.length() + 1).substring(0, n).getBytes();
    }

    static void answer(HttpExchange x) throws IOException {
        String[] path = x.getRequestURI().getPath().split("/");
        boolean head = x.getRequestMethod().equals("HEAD");
        byte[] body = x.getRequestBody().readAllBytes();
        switch (path[1]) {
            case "bytes":
                body = filler(Integer.parseInt(path[2]));
                // fall through
            case "echo":
                if (head) {
                    x.getResponseHeaders().set("Content-Length", "" + body.length);
                }
                x.sendResponseHeaders(200, head ? -1 : body.length);
                if (!head) {
                    x.getResponseBody().write(body);
                }
                break;
            case "stream":
            case "chunked":
                x.sendResponseHeaders(200, 0); // chunked, or until close
                x.getResponseBody().write(filler(Integer.parseInt(path[2])));
                break;
            case "status":
                x.sendResponseHeaders(Integer.parseInt(path[2]), -1);
                break;
            case "part":
                x.sendResponseHeaders(200, Integer.parseInt(path[3]));
                x.getResponseBody().write(filler(Integer.parseInt(path[2])));
                x.getResponseBody().flush();
                pause();
                break;
            default: // drop
        }
        x.close();
    }

    // The server cannot learn that its client is gone: give it the time to go.
    static void pause() {
        try {
            Thread.sleep(250);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    static SSLContext context(String certificate, String key) throws Exception {
        Certificate c = CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(Files.readAllBytes(Path.of(certificate))));
        String pem = Files.readString(Path.of(key)).replaceAll("-----[^-]*-----|\\s", "");
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("key", KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem))), new char[0], new Certificate[] {c});
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store, new char[0]);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        return context;
    }

    static void start(HttpServer server, ExecutorService pool) {
        server.createContext("/", Server::answer);
        server.setExecutor(pool);
        server.start();
    }

    public static void main(String[] args) throws Exception {
        System.setProperty("sun.net.httpserver.nodelay", "true");
        ExecutorService pool = Executors.newFixedThreadPool(32);
        start(HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 128), pool);
        if (args.length > 1) {
            HttpsServer secure = HttpsServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[1])), 128);
            secure.setHttpsConfigurator(new HttpsConfigurator(context(args[2], args[3])));
            start(secure, pool);
        }
    }
}
