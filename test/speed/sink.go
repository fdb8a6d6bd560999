// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

const maxRequest = 64 << 20 // bytes: a Collector's batches are large

// sink is where both pipelines end: an OTLP/gRPC server that counts spans without decoding them.
type sink struct {
	address string
	spans   atomic.Int64
	server  *grpc.Server
}

func (s *sink) open(ctx context.Context) error {
	if s.address == "" {
		s.address = "127.0.0.1:0"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	s.server = grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.MaxRecvMsgSize(maxRequest), grpc.UnknownServiceHandler(s.take))
	go func(g *grpc.Server) { _ = g.Serve(l) }(s.server)
	return nil
}

func (s *sink) close() { s.server.Stop() }

func (s *sink) take(_ any, stream grpc.ServerStream) error {
	var body []byte
	if err := stream.RecvMsg(&body); err != nil {
		return err
	}
	s.spans.Add(int64(count(body, 1, 2, 2)))
	answer := []byte{}
	return stream.SendMsg(&answer)
}

// raw moves messages that are encoded already: it takes and gives *[]byte.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("encode %T: want *[]byte", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("decode into %T: want *[]byte", v)
	}
	*b = data.Materialize()
	return nil
}
