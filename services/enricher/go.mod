module github.com/busbar/busbar/services/enricher

go 1.26.0

require (
	github.com/busbar/busbar/contract v0.0.0
	github.com/google/go-cmp v0.7.0
)

require google.golang.org/protobuf v1.36.12 // indirect

replace (
	github.com/busbar/busbar/contract => ../../contract
	github.com/busbar/busbar/kit => ../../kit
)
