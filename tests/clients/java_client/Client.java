import io.spiffe.exception.JwtSvidException;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.Watcher;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Context;
import java.math.BigInteger;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * The unmodified java-spiffe against a Workload API: the socket in SPIFFE_ENDPOINT_SOCKET.
 *
 * <p>Its argument is a number of changes of the certificate. Writes one JSON object a line for each X.509 context with
 * another certificate, until it had that many; then one for the JWT-SVID.
 */
final class Client {
    public static void main(String[] arguments) throws Exception {
        var left = new CountDownLatch(Integer.parseInt(arguments[0]) + 1);
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            client.watchX509Context(new Contexts(left));
            if (!left.await(5, TimeUnit.MINUTES)) {
                throw new IllegalStateException(left.getCount() + " certificates are missing");
            }
            var svid = client.fetchJwtSvid("db");
            var keys = client.fetchJwtBundles().getBundleForTrustDomain(svid.getSpiffeId().getTrustDomain());
            var validated = client.validateJwtSvid(svid.getToken(), "db");
            System.out.printf("{\"kind\":\"jwt\",\"id\":\"%s\",\"keys\":%d,\"validated\":\"%s\",\"otherAudience\":%b}%n",
                svid.getSpiffeId(), keys.getJwtAuthorities().size(), validated.getSpiffeId(),
                isRefused(client, svid.getToken()));
        }
        System.exit(0); // its threads are no daemons
    }

    private static boolean isRefused(WorkloadApiClient client, String token) {
        try {
            client.validateJwtSvid(token, "not-db");
            return false;
        } catch (JwtSvidException refused) {
            return true;
        }
    }

    private record Contexts(CountDownLatch left, BigInteger[] last) implements Watcher<X509Context> {
        Contexts(CountDownLatch left) {
            this(left, new BigInteger[1]);
        }

        @Override
        public void onUpdate(X509Context context) {
            var svid = context.getDefaultSvid();
            var serial = svid.getLeaf().getSerialNumber();
            if (left.getCount() == 0 || serial.equals(last[0])) {
                return;
            }
            last[0] = serial;
            var roots = context.getX509BundleSet().getBundles().get(svid.getSpiffeId().getTrustDomain());
            System.out.printf("{\"kind\":\"x509\",\"id\":\"%s\",\"roots\":%d}%n",
                svid.getSpiffeId(), roots.getX509Authorities().size());
            left.countDown();
        }

        @Override
        public void onError(Throwable error) {
            error.printStackTrace();
        }
    }
}
