# SPDX-License-Identifier: Apache-2.0
# The node part of k8s-up, which sources it: containerd, kubelet, kube-proxy.
# All under $dir, but for the bridge k8slab0, its iptables rules, the cgroups
# named k8slab, the logs' links in /var/log/containers and containerd's shims.

mkdir -p "$dir"/{cni,kubelet,containerd}
cat >"$dir/cni/lab.conflist" <<E
{"cniVersion": "0.4.0", "name": "lab", "plugins": [
  {"type": "bridge", "bridge": "k8slab0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$dir/ipam", "ranges": [[{"subnet": "10.244.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "firewall", "backend": "iptables"}]}
E
cat >"$dir/conf/containerd" <<E
version = 2
root = "$dir/containerd/root"
state = "$dir/containerd/state"
[grpc]
address = "$dir/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "$dir/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "k8slab/pause:1"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$dir/cni"
E
# cgroup v1 hosts have one k8slab for each controller, v2 hosts a single one.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mkdir -p /sys/fs/cgroup/k8slab
else
  for g in /sys/fs/cgroup/*/; do
    [ -e "$g/cgroup.controllers" ] || mkdir -p "$g/k8slab"
  done
  for f in cpus mems; do cat /sys/fs/cgroup/cpuset/cpuset.$f >/sys/fs/cgroup/cpuset/k8slab/cpuset.$f; done
fi
cat >"$dir/conf/kubelet" <<E
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $addr
healthzPort: 0
containerRuntimeEndpoint: unix://$dir/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /k8slab
failCgroupV1: false
failSwapOn: false
podLogsDir: $dir/log/pods
enforceNodeAllocatable: []
evictionHard: {memory.available: 100Mi, nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/kubelet-client.crt}}
authorization: {mode: Webhook}
nodeStatusUpdateFrequency: 5s
syncFrequency: 10s
E

start containerd containerd --config "$dir/conf/containerd" --log-level warn
until_ok 30 containerd ctr -a "$dir/containerd.sock" version
(cd "$here" && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$dir/bin/pause" ./pause) ||
  fail "cannot build pause"
"$here/k8s-image" --dir "$dir" k8slab/pause:1 "$dir/bin/pause" || fail "cannot import pause"
start kubelet "$bin" kubelet --config "$dir/conf/kubelet" --kubeconfig "$dir/conf/node" \
  --hostname-override lab --node-ip "$addr" --root-dir "$dir/kubelet" --cert-dir "$dir/kubelet/pki"
start kube-proxy "$bin" kube-proxy --kubeconfig "$dir/conf/kube-proxy" --hostname-override lab \
  --proxy-mode iptables --masquerade-all --cluster-cidr 10.244.0.0/24 \
  --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0s --conntrack-tcp-timeout-close-wait 0s \
  --healthz-bind-address "$addr:$(free_port)" --metrics-bind-address "$addr:$(free_port)"
until_ok 90 kubelet kubectl get node lab
until_ok 90 kubelet kubectl wait --for condition=Ready --timeout 5s node/lab
