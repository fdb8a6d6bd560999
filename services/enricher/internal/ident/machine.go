// SPDX-License-Identifier: Apache-2.0

package ident

import (
	"cmp"
	"strings"
)

// Labels that Kubernetes gives to nodes.
const (
	labelRegion       = "topology.kubernetes.io/region"
	labelZone         = "topology.kubernetes.io/zone"
	labelInstanceType = "node.kubernetes.io/instance-type"
)

// machine describes the machine and the cloud it is in: by what the cluster knows of it, else by what it says itself.
func (s *Source) machine() []Attribute {
	host, labels := s.Host, s.KubeNode.GetLabels()
	c := parseProviderID(s.KubeNode.GetProviderId())
	if c.provider == "" {
		c = cloud{provider: host.GetCloudProvider(), instance: host.GetCloudInstance()}
	}
	if c.zone = cmp.Or(labels[labelZone], c.zone); c.zone == "0" { // what Azure calls no zone
		c.zone = ""
	}
	description := host.GetOsDescription()
	if description != "" && host.GetKernel() != "" {
		description += " (Linux " + host.GetKernel() + ")"
	}
	attributes := []Attribute{
		{Key: "host.name", Text: s.Node},
		{Key: "host.id", Text: cmp.Or(c.instance, host.GetCloudInstance(), host.GetId())},
		{Key: "host.arch", Text: host.GetArchitecture()},
		{Key: "os.type", Text: "linux"},
		{Key: "os.name", Text: host.GetOsName()},
		{Key: "os.version", Text: host.GetOsVersion()},
		{Key: "os.description", Text: description},
		{Key: "host.type", Text: cmp.Or(labels[labelInstanceType], host.GetCloudType())},
		{Key: "cloud.provider", Text: c.provider},
		{Key: "cloud.account.id", Text: c.account},
		{Key: "cloud.region", Text: cmp.Or(labels[labelRegion], c.region)},
		{Key: "cloud.availability_zone", Text: c.zone},
		{Key: "k8s.node.name", Text: s.KubeNode.GetName()},
	}
	if s.KubeNode != nil {
		attributes = append(attributes, Attribute{Key: "k8s.cluster.name", Text: s.Cluster})
	}
	return attributes
}

// cloud is where a machine is rented.
type cloud struct {
	provider, account, region, zone string
	instance                        string // the id of the machine, where it is what the provider's own tools call host.id
}

// parseProviderID reads what a cloud calls a node. The forms:
//
//	aws:///eu-central-1a/i-0123456789abcdef0
//	gce://PROJECT/europe-west3-a/NAME
//	azure:///subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Compute/virtualMachines/NAME
//	SCHEME://ANYTHING
func parseProviderID(id string) cloud {
	scheme, rest, ok := strings.Cut(id, "://")
	if !ok {
		return cloud{}
	}
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	c := cloud{provider: provider(scheme)}
	switch {
	case scheme == "aws" && len(parts) == 2:
		c.zone, c.instance = parts[0], parts[1]
		if !strings.HasPrefix(c.instance, "i-") { // Fargate
			c.instance = ""
		}
	case scheme == "gce" && len(parts) == 3:
		c.account, c.zone = parts[0], parts[1]
	case scheme == "azure" && len(parts) > 1 && strings.EqualFold(parts[0], "subscriptions"):
		c.account = parts[1]
	}
	c.region = region(c.provider, c.zone)
	return c
}

// provider is the value of cloud.provider for the scheme of a provider id; "" for what is no cloud.
func provider(scheme string) string {
	switch scheme {
	case "aws", "azure", "digitalocean", "openstack", "scaleway", "vultr":
		return scheme
	case "gce":
		return "gcp"
	case "hcloud":
		return "hetzner"
	case "ibm":
		return "ibm_cloud"
	case "linode":
		return "akamai_cloud"
	case "oci":
		return "oracle_cloud"
	case "qcloud":
		return "tencent_cloud"
	}
	return ""
}

// region is the region that a zone is in, where its name tells: eu-central-1a, europe-west3-a.
func region(provider, zone string) string {
	switch {
	case provider == "aws" && len(zone) > 1 && '0' <= zone[len(zone)-2] && zone[len(zone)-2] <= '9' && 'a' <= zone[len(zone)-1] && zone[len(zone)-1] <= 'z':
		return zone[:len(zone)-1]
	case provider == "gcp" && strings.Count(zone, "-") == 2:
		return zone[:strings.LastIndexByte(zone, '-')]
	}
	return ""
}
