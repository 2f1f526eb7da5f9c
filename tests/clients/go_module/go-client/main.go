// The unmodified go-spiffe against a Workload API: the socket in SPIFFE_ENDPOINT_SOCKET.
//
//	go-client -rotations 3 -audience db
//
// Writes one JSON object a line for each X.509 context that it is given, the first at once, until it had that
// many changes of the certificate; then one for the JWT-SVID and one for what is no method of the server.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"log"
	"net"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

func main() {
	rotations := flag.Int("rotations", 3, "changes of the certificate to wait for")
	audience := flag.String("audience", "db", "of the JWT-SVID")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	client := must(workloadapi.New(ctx))
	defer client.Close()
	x509(ctx, client, *rotations)
	jwt(ctx, client, *audience)
	unknown(ctx, client)
}

// x509 has a source and a watch, and a handshake between two of the source's identities after each change.
func x509(ctx context.Context, client *workloadapi.Client, rotations int) {
	source := must(workloadapi.NewX509Source(ctx, workloadapi.WithClient(client)))
	defer source.Close()
	watching, stop := context.WithCancel(ctx)
	seen := &contexts{left: rotations, stop: stop, source: source}
	if err := client.WatchX509Context(watching, seen); err != nil && watching.Err() == nil {
		log.Fatalf("the watch ended: %v", err)
	}
	if seen.left >= 0 {
		log.Fatalf("%d rotations are missing: %v", seen.left+1, ctx.Err())
	}
}

type contexts struct {
	left   int
	stop   func()
	source *workloadapi.X509Source
	last   string
}

func (c *contexts) OnX509ContextUpdate(update *workloadapi.X509Context) {
	svid := update.DefaultSVID()
	serial := svid.Certificates[0].SerialNumber.Text(16)
	if serial == c.last {
		return // its bundles changed
	}
	c.last = serial
	bundle := must(update.Bundles.GetX509BundleForTrustDomain(svid.ID.TrustDomain()))
	write(map[string]any{
		"kind": "x509", "id": svid.ID.String(), "serial": serial, "roots": len(bundle.X509Authorities()),
		"peer": handshake(c.source, svid.ID.TrustDomain()),
	})
	if c.left--; c.left < 0 {
		c.stop()
	}
}

func (c *contexts) OnX509ContextWatchError(err error) {
	if c.left >= 0 { // else it is our own end
		write(map[string]any{"kind": "error", "message": err.Error()})
	}
}

// handshake is mutual TLS of the source with itself; the SPIFFE ID that the server saw.
func handshake(source *workloadapi.X509Source, domain spiffeid.TrustDomain) string {
	ours, theirs := net.Pipe()
	authorizer := tlsconfig.AuthorizeMemberOf(domain)
	server := tls.Server(ours, tlsconfig.MTLSServerConfig(source, source, authorizer))
	go tls.Client(theirs, tlsconfig.MTLSClientConfig(source, source, authorizer)).Handshake()
	if err := server.Handshake(); err != nil {
		return err.Error()
	}
	return server.ConnectionState().PeerCertificates[0].URIs[0].String()
}

func jwt(ctx context.Context, client *workloadapi.Client, audience string) {
	svid := must(client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience}))
	bundles := must(client.FetchJWTBundles(ctx))
	parsed := must(jwtsvid.ParseAndValidate(svid.Marshal(), bundles, []string{audience}))
	validated := must(client.ValidateJWTSVID(ctx, svid.Marshal(), audience))
	_, refused := client.ValidateJWTSVID(ctx, svid.Marshal(), "not-"+audience)
	write(map[string]any{
		"kind": "jwt", "id": svid.ID.String(), "parsed": parsed.ID.String(), "validated": validated.ID.String(),
		"audience": validated.Audience, "otherAudience": status.Code(refused).String(),
	})
}

// unknown is how go-spiffe's newer calls and one that never existed are refused.
func unknown(ctx context.Context, client *workloadapi.Client) {
	_, wit := client.FetchWITSVID(ctx, "")
	_, bundles := client.FetchWITBundles(ctx)
	connection := must(grpc.NewClient(os.Getenv("SPIFFE_ENDPOINT_SOCKET"),
		grpc.WithTransportCredentials(insecure.NewCredentials())))
	defer connection.Close()
	asked := metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", "true")
	never := connection.Invoke(asked, "/SpiffeWorkloadAPI/Never", &emptypb.Empty{}, &emptypb.Empty{})
	write(map[string]any{
		"kind": "unknown", "witSvid": status.Code(wit).String(), "witBundles": status.Code(bundles).String(),
		"never": status.Code(never).String(),
	})
}

func write(value map[string]any) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		log.Fatal(err)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
