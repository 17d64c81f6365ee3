// Command gcp is a control plane on go-control-plane as published: what is tried is its caches and its server, so it adds nothing but
// a control channel. Commands come as lines of JSON on stdin, each is answered by a line on stdout; what its callbacks see comes
// as lines between them.
//
//	gcp <ip:port> <snapshot|linear> <ads|plain> <delta|sotw>
//
// ads switches on the snapshot cache's flag and the ordered server; sotw leaves out the delta method. It ends when stdin does.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/log"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/config"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: gcp <ip:port> <snapshot|linear> <ads|plain> <delta|sotw>")
		os.Exit(2)
	}
	plane := &plane{address: os.Args[1], linear: os.Args[2] == "linear", ads: os.Args[3] == "ads", delta: os.Args[4] == "delta"}
	plane.clear()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var command command
		err := json.Unmarshal(lines.Bytes(), &command)
		if err == nil {
			err = plane.obey(command)
		}
		answer := map[string]any{"answers": command.ID}
		if err != nil {
			answer["error"] = err.Error()
		}
		say(answer)
	}
}

// command is one line of stdin.
type command struct {
	ID int `json:"id"`
	// start, stop, clear or set
	Do string `json:"do"`
	// set: everything that a node may see, in place of what was there
	Node      string `json:"node"`
	Version   string `json:"version"`
	Resources []struct {
		Type  string `json:"type"`
		Bytes []byte `json:"bytes"`
	} `json:"resources"`
}

type plane struct {
	address            string
	linear, ads, delta bool
	snapshots          cache.SnapshotCache
	byType             map[string]*cache.LinearCache
	stop               func()
	starts, forgotten  int
}

func (p *plane) obey(c command) error {
	switch c.Do {
	case "start":
		return p.start()
	case "stop":
		p.stop()
		return nil
	case "clear":
		p.clear()
		return nil
	case "set":
		return p.set(c)
	}
	return fmt.Errorf("unknown command %q", c.Do)
}

// clear makes it forget everything, as a new process does.
func (p *plane) clear() {
	p.forgotten++
	p.snapshots = cache.NewSnapshotCache(p.ads, cache.IDHash{}, quiet)
	p.byType = map[string]*cache.LinearCache{}
	for _, url := range []string{resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointType} {
		// Without a prefix of its own a new instance takes the versions of the one before it for its own, and is silent about
		// what has gone meanwhile.
		p.byType[url] = cache.NewLinearCache(url, cache.WithLogger(quiet), cache.WithVersionPrefix(fmt.Sprintf("%d-", p.forgotten)))
	}
}

func (p *plane) start() error {
	p.starts++
	var caches cache.Cache = p.snapshots
	if p.linear {
		mux := &cache.MuxCache{
			Classify:      func(r *cache.Request) string { return r.GetTypeUrl() },
			ClassifyDelta: func(r *cache.DeltaRequest) string { return r.GetTypeUrl() },
			Caches:        map[string]cache.Cache{},
		}
		for url, one := range p.byType {
			mux.Caches[url] = one
		}
		caches = mux
	}
	options := []config.XDSOption{}
	if p.ads {
		options = append(options, sotw.WithOrderedADS())
	}
	ctx, cancel := context.WithCancel(context.Background())
	service := server.NewServer(ctx, caches, callbacks(p.starts), options...)
	grpcServer := grpc.NewServer()
	if p.delta {
		discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, service)
	} else {
		discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, sotwOnly{service: service})
	}
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		cancel()
		return err
	}
	p.stop = func() {
		cancel()
		grpcServer.Stop()
	}
	go func() {
		if err := grpcServer.Serve(listener); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return nil
}

func (p *plane) set(c command) error {
	byType := map[resource.Type][]types.Resource{}
	for _, one := range c.Resources {
		message, err := anypb.UnmarshalNew(&anypb.Any{TypeUrl: one.Type, Value: one.Bytes}, proto.UnmarshalOptions{})
		if err != nil {
			return err
		}
		byType[one.Type] = append(byType[one.Type], message)
	}
	if !p.linear {
		snapshot, err := cache.NewSnapshot(c.Version, byType)
		if err != nil {
			return err
		}
		return p.snapshots.SetSnapshot(context.Background(), c.Node, snapshot)
	}
	for url, linear := range p.byType {
		if err := update(linear, byType[url]); err != nil {
			return err
		}
	}
	return nil
}

// update tells a linear cache what changed and nothing else: it takes all that it is told for new.
func update(linear *cache.LinearCache, resources []types.Resource) error {
	held := linear.GetResources()
	changed := map[string]types.Resource{}
	for _, one := range resources {
		name := cache.GetResourceName(one)
		if before, ok := held[name]; !ok || !proto.Equal(before, one) {
			changed[name] = one
		}
		delete(held, name)
	}
	gone := []string{}
	for name := range held {
		gone = append(gone, name)
	}
	if len(changed)+len(gone) == 0 {
		return nil
	}
	return linear.UpdateResources(changed, gone)
}

// sotwOnly answers the delta method as a server that is older than it.
type sotwOnly struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	service server.Server
}

func (s sotwOnly) StreamAggregatedResources(stream discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.service.StreamAggregatedResources(stream)
}

// event is what a callback saw. Streams are numbered anew by each start of the server.
type event struct {
	Event  string `json:"event"`
	Start  int    `json:"start"`
	Stream int64  `json:"stream"`
	Type   string `json:"type,omitempty"`
	Nonce  string `json:"nonce,omitempty"`
	// requests
	Node        string            `json:"node,omitempty"`
	Names       []string          `json:"names,omitempty"`
	Unsubscribe []string          `json:"unsubscribe,omitempty"`
	Held        map[string]string `json:"held,omitempty"`
	Error       string            `json:"error,omitempty"`
	// both, state of the world
	Version string `json:"version,omitempty"`
	// responses
	Count   int      `json:"count,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

func callbacks(start int) server.Callbacks {
	opened := func(_ context.Context, id int64, _ string) error {
		say(event{Event: "open", Start: start, Stream: id})
		return nil
	}
	closed := func(id int64, _ *core.Node) { say(event{Event: "closed", Start: start, Stream: id}) }
	return server.CallbackFuncs{
		StreamOpenFunc:        opened,
		DeltaStreamOpenFunc:   opened,
		StreamClosedFunc:      closed,
		DeltaStreamClosedFunc: closed,
		StreamRequestFunc: func(id int64, r *discovery.DiscoveryRequest) error {
			say(event{Event: "request", Start: start, Stream: id, Type: r.GetTypeUrl(), Nonce: r.GetResponseNonce(), Node: r.GetNode().GetId(),
				Names: r.GetResourceNames(), Version: r.GetVersionInfo(), Error: r.GetErrorDetail().GetMessage()})
			return nil
		},
		StreamDeltaRequestFunc: func(id int64, r *discovery.DeltaDiscoveryRequest) error {
			say(event{Event: "request", Start: start, Stream: id, Type: r.GetTypeUrl(), Nonce: r.GetResponseNonce(), Node: r.GetNode().GetId(),
				Names: r.GetResourceNamesSubscribe(), Unsubscribe: r.GetResourceNamesUnsubscribe(), Held: r.GetInitialResourceVersions(),
				Error: r.GetErrorDetail().GetMessage()})
			return nil
		},
		StreamResponseFunc: func(_ context.Context, id int64, _ *discovery.DiscoveryRequest, r *discovery.DiscoveryResponse) {
			say(event{Event: "response", Start: start, Stream: id, Type: r.GetTypeUrl(), Nonce: r.GetNonce(), Version: r.GetVersionInfo(),
				Count: len(r.GetResources())})
		},
		StreamDeltaResponseFunc: func(id int64, _ *discovery.DeltaDiscoveryRequest, r *discovery.DeltaDiscoveryResponse) {
			say(event{Event: "response", Start: start, Stream: id, Type: r.GetTypeUrl(), Nonce: r.GetNonce(), Count: len(r.GetResources()),
				Removed: r.GetRemovedResources()})
		},
	}
}

var stdout sync.Mutex

func say(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	stdout.Lock()
	defer stdout.Unlock()
	fmt.Println(string(text))
}

var quiet = log.NewDefaultLogger()
