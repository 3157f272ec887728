package executor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llima-build/llima/hcl/config"
)

// fault is what becomes of a system call of a traced build.
type fault struct {
	kill  bool
	errno syscall.Errno // 0 lets it be
}

// sysCall is a call of a traced build that changes files below its project.
type sysCall struct {
	number int // from 1
	name   string
	path   string
}

// argument says which register holds a call's path or descriptor.
type argument struct {
	name string
	fd   bool
	at   int // 0 to 5
}

// changing lists the calls that change files.
var changing = map[uint64]argument{
	unix.SYS_WRITE: {"write", true, 0}, unix.SYS_PWRITE64: {"pwrite", true, 0}, unix.SYS_COPY_FILE_RANGE: {"copy", true, 2},
	unix.SYS_FSYNC: {"fsync", true, 0}, unix.SYS_FTRUNCATE: {"truncate", true, 0}, unix.SYS_IOCTL: {"ioctl", true, 0},
	unix.SYS_OPENAT: {"create", false, 1}, unix.SYS_RENAMEAT: {"rename", false, 3}, unix.SYS_LINKAT: {"link", false, 3},
	unix.SYS_MKDIRAT: {"mkdir", false, 1}, unix.SYS_UNLINKAT: {"unlink", false, 1}, unix.SYS_FCHMODAT: {"chmod", false, 1},
}

// tracer runs a build as a process of its own and stops it at system calls.
type tracer struct {
	tb     testing.TB
	dir    string
	decide func(sysCall) fault
	pid    int
	mem    *os.File
	inside map[int]bool          // threads that are in a call
	pend   map[int]syscall.Errno // what their call is to return
	calls  int
}

// trace builds the project at p in a process of its own with a precision.
// ended tells how it ended; ok is false where processes cannot be traced.
func (p *project) trace(tb testing.TB, precision config.Precision, decide func(sysCall) fault) (ended syscall.WaitStatus, calls int, ok bool) {
	tb.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
	cmd.Env = append(os.Environ(), killDir+"="+p.dir, killStep+"=0", killLayers+"=1", killPrecision+"="+string(precision))
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) {
			return 0, 0, false
		}
		tb.Fatal(err)
	}
	pid := cmd.Process.Pid
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
		tb.Fatal(err)
	}
	const options = syscall.PTRACE_O_TRACECLONE | syscall.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(pid, options); err != nil {
		tb.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		tb.Fatal(err)
	}
	defer mem.Close() //nolint:errcheck // opened for reading
	t := &tracer{tb: tb, dir: p.dir, decide: decide, pid: pid, mem: mem, inside: map[int]bool{}, pend: map[int]syscall.Errno{}}
	ended = t.loop()
	return ended, t.calls, true
}

// loop lets the process run until it ends.
func (t *tracer) loop() syscall.WaitStatus {
	known := map[int]bool{t.pid: true}
	resume := func(tid, signal int) {
		if err := syscall.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.tb.Fatal(err)
		}
	}
	resume(t.pid, 0)
	for {
		var ws syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			t.tb.Fatal(err)
		}
		switch {
		case ws.Exited() || ws.Signaled():
			if tid == t.pid {
				return ws
			}
		case ws.StopSignal() == syscall.SIGTRAP|0x80:
			t.stopped(tid)
			resume(tid, 0)
		case ws.StopSignal() == syscall.SIGTRAP: // a new thread
			resume(tid, 0)
		case !known[tid]: // which begins with a stop
			known[tid] = true
			resume(tid, 0)
		default:
			resume(tid, int(ws.StopSignal()))
		}
	}
}

// stopped handles a thread that enters or leaves a call.
func (t *tracer) stopped(tid int) {
	var r syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &r); err != nil {
		return // it was killed meanwhile
	}
	if t.inside[tid] = !t.inside[tid]; !t.inside[tid] {
		if errno := t.pend[tid]; errno != 0 {
			delete(t.pend, tid)
			r.Rax = uint64(-int64(errno))
			t.set(tid, &r)
		}
		return
	}
	c, ok := t.call(&r)
	if !ok {
		return
	}
	t.calls++
	c.number = t.calls
	switch f := t.decide(c); {
	case f.kill:
		if err := syscall.Kill(t.pid, syscall.SIGKILL); err != nil {
			t.tb.Fatal(err)
		}
	case f.errno != 0:
		t.pend[tid] = f.errno
		r.Orig_rax = ^uint64(0) // no such call
		t.set(tid, &r)
	}
}

func (t *tracer) set(tid int, r *syscall.PtraceRegs) {
	if err := syscall.PtraceSetRegs(tid, r); err != nil {
		t.tb.Fatal(err)
	}
}

// call tells whether a call changes files below the project.
func (t *tracer) call(r *syscall.PtraceRegs) (c sysCall, ok bool) {
	a, ok := changing[r.Orig_rax]
	if !ok {
		return c, false
	}
	const fileClone = 0x40049409
	switch r.Orig_rax {
	case unix.SYS_OPENAT:
		if r.Rdx&(unix.O_CREAT|unix.O_TRUNC) == 0 {
			return c, false
		}
	case unix.SYS_IOCTL:
		if r.Rsi != fileClone {
			return c, false
		}
	}
	arg := [...]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9}[a.at]
	if a.fd {
		c.path, _ = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.pid, arg))
	} else {
		b := make([]byte, 4096)
		n, _ := t.mem.ReadAt(b, int64(arg)) // less than asked for at the end of a mapping
		c.path, _, _ = strings.Cut(string(b[:n]), "\x00")
	}
	c.name = a.name
	return c, strings.HasPrefix(c.path, t.dir+"/")
}

// faultProject returns a project with one layer. Every second one has been built
// before, in another precision.
func faultProject(t *testing.T, source *project, n int) *project {
	t.Helper()
	p := &project{dir: tinyDir(t), name: "m", layers: 1, context: 4, output: "out", rules: precision(config.INT8), jobs: 1, now: later}
	if err := os.CopyFS(p.path("source"), os.DirFS(source.path("source"))); err != nil {
		t.Fatal(err)
	}
	if n%2 == 1 {
		p.mustBuild(t)
	}
	p.rules = precision(config.BF16)
	return p
}

// TestKilledAtEveryCall kills a build at the system calls by which it changes
// files, and builds again. LLIMA_LONG takes every call.
func TestKilledAtEveryCall(t *testing.T) {
	source := newTiny(t, 1)
	source.rules = precision(config.BF16)
	want := source.clean(t)
	_, calls, ok := faultProject(t, source, 1).trace(t, config.BF16, func(sysCall) fault { return fault{} })
	if !ok {
		t.Skip("processes cannot be traced here")
	}
	killed := 0
	for i, n := range points(calls, 16) {
		p := faultProject(t, source, i)
		var at sysCall
		ended, _, _ := p.trace(t, config.BF16, func(c sysCall) fault {
			if c.number == n {
				at = c
			}
			return fault{kill: c.number == n}
		})
		if !ended.Signaled() {
			continue // a build from nothing has less calls than one that replaces
		}
		killed++
		recovers(t, p, want)
		if t.Failed() {
			t.Fatalf("killed at call %d of %d, %s %s", n, calls, at.name, at.path)
		}
	}
	t.Logf("killed at %d of %d calls", killed, calls)
	if killed < 10 || os.Getenv("LLIMA_LONG") != "" && killed < 200 {
		t.Errorf("killed at %d calls only", killed)
	}
}

// TestFaultAtEveryCall lets system calls fail by which a build changes files:
// one with EIO, one with ENOSPC, or all from one on with ENOSPC. LLIMA_LONG
// takes every call.
func TestFaultAtEveryCall(t *testing.T) {
	source := newTiny(t, 1)
	source.rules = precision(config.BF16)
	want := source.clean(t)
	_, calls, ok := faultProject(t, source, 1).trace(t, config.BF16, func(sysCall) fault { return fault{} })
	if !ok {
		t.Skip("processes cannot be traced here")
	}
	failed, names := 0, map[string]int{}
	for i, n := range points(calls, 24) {
		p := faultProject(t, source, i/3)
		var at sysCall
		ended, _, _ := p.trace(t, config.BF16, func(c sysCall) fault {
			if c.number == n {
				at = c
			}
			switch {
			case i%3 == 0 && c.number == n:
				return fault{errno: syscall.EIO}
			case i%3 == 1 && c.number == n, i%3 == 2 && c.number >= n && c.name != "unlink":
				return fault{errno: syscall.ENOSPC}
			}
			return fault{}
		})
		if at.name == "" {
			continue
		}
		names[at.name]++
		if ended.ExitStatus() == 0 { // it did without
			sameFiles(t, files(t, p.path("out")), want)
		} else {
			failed++
		}
		recovers(t, p, want)
		if t.Failed() {
			t.Fatalf("fault %d at call %d of %d, %s %s", i%3, n, calls, at.name, at.path)
		}
	}
	t.Logf("%d of %d calls failed builds: %v", failed, calls, names)
	if failed < 10 {
		t.Errorf("only %d builds failed", failed)
	}
}
