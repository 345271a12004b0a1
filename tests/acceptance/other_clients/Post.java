import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** Post a body of zeros several times with java.net.http; print one status a line.
 *  usage: java Post.java URL METHOD CONTENT_TYPE KEY BYTES TIMES */
public class Post {
    public static void main(String[] given) {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        byte[] body = new byte[Integer.parseInt(given[4])];
        for (int i = 0; i < Integer.parseInt(given[5]); i++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(given[0]))
                .header("content-type", given[2])
                .header("x-api-key", given[3])
                .timeout(Duration.ofSeconds(15))
                .method(given[1], HttpRequest.BodyPublishers.ofByteArray(body))
                .build();
            try {
                System.out.println(client.send(request, HttpResponse.BodyHandlers.ofByteArray()).statusCode());
            } catch (Exception error) {
                System.out.println(error);
            }
        }
    }
}
