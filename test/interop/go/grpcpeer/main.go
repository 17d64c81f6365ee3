// Command grpcpeer is a client or a server of the mesh on grpc-go as published: what is tried is its xDS client, its
// credentials and its authorization, so everything else is as small as can be. Messages are bare bytes.
//
//	grpcpeer server <name> <ip:port>      answers "<name> <who called>"
//	grpcpeer client <target> <calls>      a line of JSON for each round of calls, until it is ended
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: grpcpeer server <name> <ip:port> | grpcpeer client <target> <calls>")
	}
	if args[0] == "server" {
		return serve(args[1], args[2])
	}
	calls, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	return call(args[1], calls)
}

// bare passes bytes through: no generated code is needed.
type bare struct{}

func (bare) Name() string { return "proto" }

func (bare) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (bare) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func serve(name, address string) error {
	// Without plaintext as a fall-back: a Listener without TLS is served all the same, one with TLS never without.
	creds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return err
	}
	server, err := xds.NewGRPCServer(
		grpc.Creds(creds),
		grpc.ForceServerCodec(bare{}),
		xds.ServingModeCallback(func(at net.Addr, mode xds.ServingModeChangeArgs) {
			fmt.Printf("{\"address\":%q,\"mode\":%q,\"why\":%q}\n", at, mode.Mode, fmt.Sprint(mode.Err))
		}),
	)
	if err != nil {
		return err
	}
	answer := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var request []byte
		if err := decode(&request); err != nil {
			return nil, err
		}
		reply := []byte(name + " " + caller(ctx))
		return &reply, nil
	}
	refused := func(srv any, ctx context.Context, decode func(any) error, chain grpc.UnaryServerInterceptor) (any, error) {
		// An xDS server enforces its policy in interceptors, which a handler of its own has to go through.
		if chain == nil {
			return answer(srv, ctx, decode, chain)
		}
		return chain(ctx, nil, &grpc.UnaryServerInfo{Server: srv}, func(ctx context.Context, _ any) (any, error) {
			return answer(srv, ctx, decode, nil)
		})
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "demo.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Say", Handler: refused},
			{MethodName: "Secret", Handler: refused},
		},
	}, struct{}{})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return server.Serve(listener)
}

// caller is the SPIFFE id in the verified certificate, or "-".
func caller(ctx context.Context) string {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return "-"
	}
	if info, ok := from.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
		if uris := info.State.PeerCertificates[0].URIs; len(uris) == 1 {
			return uris[0].String()
		}
	}
	if from.AuthInfo != nil {
		return from.AuthInfo.AuthType()
	}
	return "-"
}

// round is what one round of calls came to.
type round struct {
	Say    map[string]int `json:"say"`
	Errors map[string]int `json:"errors"`
	Secret string         `json:"secret"`
}

func call(target string, calls int) error {
	creds, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.ForceCodec(bare{})))
	if err != nil {
		return err
	}
	defer conn.Close()
	invoke := func(method string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		request, reply := []byte("hello"), []byte(nil)
		err := conn.Invoke(ctx, method, &request, &reply)
		return string(reply), err
	}
	for {
		result := round{Say: map[string]int{}, Errors: map[string]int{}}
		for range calls {
			if reply, err := invoke("/demo.Echo/Say"); err == nil {
				result.Say[reply]++
			} else {
				result.Errors[describe(err)]++
			}
		}
		if reply, err := invoke("/demo.Echo/Secret"); err == nil {
			result.Secret = reply
		} else {
			result.Secret = describe(err)
		}
		line, err := json.Marshal(result)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
		time.Sleep(100 * time.Millisecond)
	}
}

func describe(err error) string {
	if status.Code(err) == codes.OK {
		return "OK"
	}
	return fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())
}
