module github.com/busbar/busbar/cmd/busbar

go 1.26.0

require (
	github.com/busbar/busbar/contract v0.0.0
	github.com/busbar/busbar/kit v0.0.0
	github.com/busbar/busbar/services/enricher v0.0.0
	github.com/busbar/busbar/services/exporter v0.0.0
	github.com/busbar/busbar/services/probe v0.0.0
	github.com/busbar/busbar/services/router v0.0.0
)

replace (
	github.com/busbar/busbar/contract => ../../contract
	github.com/busbar/busbar/kit => ../../kit
	github.com/busbar/busbar/services/enricher => ../../services/enricher
	github.com/busbar/busbar/services/exporter => ../../services/exporter
	github.com/busbar/busbar/services/probe => ../../services/probe
	github.com/busbar/busbar/services/router => ../../services/router
)
