// SPDX-License-Identifier: Apache-2.0
// java.net.http as everybody uses it: java Client URL [CERTIFICATE] < requests

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.List;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    static final String TRAP = "HTTP/1.1 500 Trap\r\n\r\n";

    static byte[] filler(int n) {
        return TRAP.repeat(n / TRAP.length() + 1).substring(0, n).getBytes();
    }

    static SSLContext trust(String certificate) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setCertificateEntry("it", CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(Files.readAllBytes(Path.of(certificate)))));
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    static HttpRequest request(String url, List<String> f) {
        byte[] body = filler(Integer.parseInt(f.get(2)));
        HttpRequest.Builder b = HttpRequest.newBuilder(URI.create(url + f.get(1)));
        BodyPublisher publisher = BodyPublishers.noBody();
        if (f.contains("chunked")) {
            publisher = BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body));
        } else if (f.get(0).equals("POST")) {
            publisher = BodyPublishers.ofByteArray(body);
        }
        if (f.contains("close")) {
            b.header("Connection", "close"); // allowed by jdk.httpclient.allowRestrictedHeaders
        }
        if (f.contains("bighead")) {
            b.header("Cookie", "session=" + "c".repeat(3072));
        }
        return b.expectContinue(f.contains("continue")).method(f.get(0), publisher).build();
    }

    public static void main(String[] args) throws Exception {
        System.setProperty("jdk.httpclient.allowRestrictedHeaders", "connection");
        System.setProperty("jdk.httpclient.enableAllMethodRetry", "false");
        System.setProperty("jdk.httpclient.disableRetryConnect", "true");
        HttpClient.Builder b = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1);
        if (args.length > 1) {
            b.sslContext(trust(args[1]));
        }
        HttpClient client = b.build();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            List<String> f = List.of(line.trim().split(" "));
            try {
                client.send(request(args[0], f), BodyHandlers.discarding());
            } catch (IOException e) {
                if (!f.contains("unanswered")) {
                    throw e;
                }
            }
        }
        System.exit(0); // the client's threads would go on for a while
    }
}
