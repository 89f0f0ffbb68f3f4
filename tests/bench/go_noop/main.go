// A server that does nothing, compiled: it looks at no message, and says "continue" to the head and to the body.
// make bench compares with it, where Go is there to build it.
package main

import (
	"fmt"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// Two ProcessingResponses: request_headers (1) and request_body (3), each with an empty CommonResponse (1).
var continues = [][]byte{{0x0a, 0x02, 0x0a, 0x00}, {0x1a, 0x02, 0x0a, 0x00}}

// A HealthCheckResponse: status (1) is SERVING (1). Envoy asks for it.
var serving = [][]byte{{0x08, 0x01}}

// bytesCodec passes messages as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*message.(*[]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, into any) error {
	*into.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = bytesCodec{}

// handle answers head and body, or the one message of a health check, and ends the stream with that.
func handle(_ any, stream grpc.ServerStream) error {
	answers := continues
	if method, _ := grpc.MethodFromServerStream(stream); method == "/grpc.health.v1.Health/Check" {
		answers = serving
	}
	for _, answer := range answers {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		if err := stream.SendMsg(&answer); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: noop HOST:PORT")
		os.Exit(2)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}), grpc.UnknownServiceHandler(handle))
	log.Fatal(server.Serve(listener))
}
