module github.com/busbar/busbar/contract

go 1.26.0

require (
	github.com/planetscale/vtprotobuf v0.6.0
	google.golang.org/protobuf v1.36.12
)

require github.com/google/go-cmp v0.7.0
