package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
)

// errSkipped is wrapped by an error that says why a drill cannot run here.
var errSkipped = errors.New("cannot be run on this machine")

// diskFull fills the disks that the services' databases are on: each a small one
// in memory, visible to its service alone. Meanwhile, clients also post to
// CommandsService directly.
func diskFull(r *run) {
	platforms, commands := r.pair()
	r.giveDisk(platforms, "DATABASE_URL")
	r.giveDisk(commands, "COMMANDS_DATABASE_URL")
	var direct *commandsLoad
	defer func() {
		if direct != nil {
			direct.stop()
		}
	}()
	full := func() {
		direct = get(startCommandsLoad(r.ctx, commands.url, r.options.bearer))
		r.fill(commands)
		r.lasts(5 * time.Second) // events have to wait
		r.fill(platforms)
	}
	repaired := 0 // how many direct POSTs had ended then
	free := func() {
		get(r.within(startTimeout, func(context.Context) error {
			if v := judgeDirect(direct.soFar(), nil, nil); v.refused == 0 {
				return errors.New("no POST to CommandsService was refused")
			}
			return nil
		}))
		must(os.Remove(r.ballast(platforms)))
		must(os.Remove(r.ballast(commands)))
		repaired = len(direct.soFar())
	}
	r.storageFault(full, free)
	r.expectDirect(direct, repaired)
	dead, err := depth(r.ctx, r.brokerURL, r.deadQueue())
	r.expect("events to wait, and none to become a dead letter", err == nil && dead == 0, "%d dead letters, error: %v", dead, err)
	r.expectRefusals()
}

// giveDisk puts the database of a service, named by setting, on a small disk that no
// other process sees.
func (r *run) giveDisk(s *service, setting string) {
	if runtime.GOOS != "linux" {
		must(fmt.Errorf("%w: a disk for one process needs Linux", errSkipped))
	}
	disk := r.disk(s)
	must(os.Mkdir(disk, 0o700))
	s.wrap = []string{"unshare", "--user", "--map-root-user", "--mount",
		"sh", "-c", `mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"`, disk}
	s.env = append(s.env, setting+"=sqlite:"+filepath.Join(disk, "service.db"))
	try := exec.CommandContext(r.ctx, s.wrap[0], append(s.wrap[1:], "true")...)
	if out, err := try.CombinedOutput(); err != nil {
		must(fmt.Errorf("%w: mount a disk for one process: %w: %s", errSkipped, err, out))
	}
}

// disk is where a service has its own disk, and ballast is the file that fills it, as
// this process sees it.
func (r *run) disk(s *service) string { return filepath.Join(r.dir, s.name+"-disk") }
func (r *run) ballast(s *service) string {
	return fmt.Sprintf("/proc/%d/root%s/ballast", s.process.PID(), r.disk(s))
}

// fill fills the disk of a service.
func (r *run) fill(s *service) {
	file := get(os.Create(r.ballast(s)))
	defer file.Close()
	for {
		if _, err := file.Write(make([]byte, 4096)); err != nil {
			return // it is full
		}
	}
}

// databaseLocked holds the write lock of PlatformService's database, for longer
// than a writer waits.
func databaseLocked(r *run) {
	r.pair()
	db := get(openSQLite(r.platformsFile()))
	defer db.Close()
	var lock *sql.Tx
	r.storageFault(
		func() { lock = get(lockSQLite(r.ctx, db)) },
		func() { must(lock.Rollback()) })
	r.expectRefusals()
}

// openSQLite opens a service's database. A transaction acquires the lock of writers. It
// may take many attempts while the service writes all the time.
func openSQLite(file string) (*sql.DB, error) {
	return sql.Open("sqlite3", "file:"+file+"?_busy_timeout=60000&_journal_mode=WAL&_txlock=immediate")
}

// lockSQLite acquires the lock of writers. Roll the transaction back to release it.
func lockSQLite(ctx context.Context, db *sql.DB) (*sql.Tx, error) {
	lock, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("lock a database: %w", err)
	}
	return lock, nil
}

// exec executes statement on a service's database.
func (r *run) exec(db *sql.DB, statement string, args ...any) {
	if _, err := db.ExecContext(r.ctx, statement, args...); err != nil {
		must(fmt.Errorf("execute %.40q: %w", statement, err))
	}
}

// storageFault breaks PlatformService's storage until some POSTs have been refused
// because of it, and repairs it. A POST that began earlier and met the fault does not
// count, as in expectRefusals.
func (r *run) storageFault(breakIt, repair func()) {
	r.begin(usual())
	r.lasts(5 * time.Second)
	r.phase(fault)
	breakIt()
	r.lasts(20 * time.Second)
	// A locked database refuses nothing until a writer's time is up.
	get(r.within(startTimeout, func(context.Context) error {
		if !slices.ContainsFunc(r.during(r.load.history(), fault), func(p post) bool { return p.outcome == refused }) {
			return errors.New("no POST of the fault was refused")
		}
		return nil
	}))
	r.phase(recovering)
	repair()
	r.expectRecovery("platforms to be accepted and to arrive within %s of the repair", r.flowing)
	r.phase(after)
	r.lasts(5 * time.Second)
}

// expectRefusals finishes a drill with a storageFault: it expects refusals during the
// fault, no other failures, and nothing lost.
func (r *run) expectRefusals() {
	r.finish()
	refusals, others, silent := 0, 0, 0
	for _, p := range r.in(fault) {
		switch {
		case p.status == 503 && p.retryAfter:
			refusals++
		case p.status == 503:
			silent++
		case p.outcome != accepted:
			others++
		}
	}
	r.expect("503 with Retry-After, and nothing else but 201", refusals > 0 && others == 0 && silent == 0,
		"%d of them, %d without Retry-After, %d other failures", refusals, silent, others)
	r.expectComplete()
}
