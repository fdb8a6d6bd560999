package kern

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

func TestZZHold(t *testing.T) {
	tier := os.Getenv("TIER")
	if tier == "" {
		tier = "btf"
	}
	req, _ := strconv.Atoi(os.Getenv("REQ"))
	body := 2
	if s := os.Getenv("BODY"); s != "" {
		body, _ = strconv.Atoi(s)
	}
	p := startPP(t, req, body)
	k, err := Load(Options{Tier: tier, DefaultIgnore: true})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Read(ctx, &counter{}) }()
	k.Decide(uint32(p.pid), Verdict{Observe: os.Getenv("IGN") == ""})
	p.run(5)
	os.WriteFile("/proc/sys/net/core/bpf_jit_kallsyms", []byte("1"), 0)
	cmd := exec.Command("perf", "record", "-q", "-e", "cpu-clock", "-F", "12000", "-g", "-C", "1", "-o", "/tmp/cost/perf.data")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		fmt.Println(p.run(2000))
	}
	cmd.Process.Signal(os.Interrupt)
	fmt.Println(cmd.Wait())
	out, _ := exec.Command("perf", "report", "-i", "/tmp/cost/perf.data", "--stdio", "-p", strconv.Itoa(p.pid), "--comm", "pp", "--sort", "sym").Output()
	os.WriteFile("/tmp/cost/report.txt", out, 0o644)
	out, _ = exec.Command("sh", "-c", "perf script -i /tmp/cost/perf.data --comm pp -F pid,ip,sym | head -3").CombinedOutput()
	fmt.Println(string(out))
	out, _ = exec.Command("sh", "-c", fmt.Sprintf("perf script -i /tmp/cost/perf.data --pid %d -F sym | sort | uniq -c | sort -rn > /tmp/cost/sym.txt", p.pid)).CombinedOutput()
	fmt.Println(string(out))
	for _, name := range []string{"on_send", "on_receive"} {
		info, _ := k.programs[name].Info()
		code, _ := info.JitedInsns()
		addrs, _ := info.JitedKsymAddrs()
		lens, _ := info.JitedFuncLens()
		os.RemoveAll("/tmp/cost/jit." + name)
		os.MkdirAll("/tmp/cost/jit."+name, 0o755)
		for i, a := range addrs {
			os.WriteFile(fmt.Sprintf("/tmp/cost/jit.%s/%x", name, a), code[:lens[i]], 0o644)
			code = code[lens[i]:]
		}
	}
	cancel()
	<-done
}
