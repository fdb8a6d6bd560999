# SPDX-License-Identifier: Apache-2.0
# Versions of the tools that make generated files and check the code. Sourced by the scripts beside it.
PROTOC_GEN_GO=v1.36.12
PROTOC_GEN_GO_VTPROTO=v0.6.0
GOLANGCI_LINT=v2.15.0
