module github.com/busbar/busbar/services/exporter

go 1.26.0

require (
	github.com/busbar/busbar/contract v0.0.0
	github.com/busbar/busbar/kit v0.0.0
)

replace (
	github.com/busbar/busbar/contract => ../../contract
	github.com/busbar/busbar/kit => ../../kit
)
