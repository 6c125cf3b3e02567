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

// errSkipped is wrapped by the reason why a drill cannot be run here.
var errSkipped = errors.New("cannot be run on this machine")

// diskFull fills the disks that the services' databases are on: each a small one
// in memory, that its service alone sees. Meanwhile, clients also post to
// CommandsService directly.
func diskFull(ctx context.Context, r *run) error {
	if _, err := r.pair(); err != nil {
		return err
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("%w: a disk of its own needs Linux", errSkipped)
	}
	platforms, commands := r.platforms[0], r.commands[0]
	for s, setting := range map[*service]string{platforms: "DATABASE_URL", commands: "COMMANDS_DATABASE_URL"} {
		disk := r.disk(s)
		if err := os.Mkdir(disk, 0o700); err != nil {
			return err
		}
		s.wrap = []string{"unshare", "--user", "--map-root-user", "--mount",
			"sh", "-c", `mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"`, disk}
		s.env = append(s.env, setting+"=sqlite:"+filepath.Join(disk, "service.db"))
		try := exec.CommandContext(ctx, s.wrap[0], append(s.wrap[1:], "true")...)
		if out, err := try.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: it may not mount a disk for a process: %w: %s", errSkipped, err, out)
		}
	}
	var direct *commandsLoad
	defer func() {
		if direct != nil {
			direct.stop()
		}
	}()
	full := func() (err error) {
		if direct, err = startCommandsLoad(ctx, commands.url); err != nil {
			return err
		}
		if err := r.fill(commands); err != nil {
			return err
		}
		if err := r.lasts(ctx, r.times(5*time.Second)); err != nil { // events have to wait
			return err
		}
		return r.fill(platforms)
	}
	mended := 0 // what had ended of the direct load then
	free := func() error {
		if _, err := r.within(ctx, startTimeout, func(context.Context) error {
			if v := judgeDirect(direct.soFar(), nil, nil); v.refused == 0 {
				return errors.New("no POST to CommandsService was refused")
			}
			return nil
		}); err != nil {
			return err
		}
		if err := errors.Join(os.Remove(r.ballast(platforms)), os.Remove(r.ballast(commands))); err != nil {
			return err
		}
		mended = len(direct.soFar())
		return nil
	}
	return r.storageFault(ctx, full, free, func() error {
		if err := r.expectDirect(ctx, direct, mended); err != nil {
			return err
		}
		dead, err := depth(ctx, r.brokerURL, r.deadQueue())
		r.expect("events to wait, and none to become a dead letter", err == nil && dead == 0, "%d dead letters, error: %v", dead, err)
		return nil
	})
}

// disk is where a service has a disk of its own, and ballast what fills it, as
// seen from here.
func (r *run) disk(s *service) string { return filepath.Join(r.dir, s.name+"-disk") }
func (r *run) ballast(s *service) string {
	return fmt.Sprintf("/proc/%d/root%s/ballast", s.process.PID(), r.disk(s))
}

// fill fills the disk of a service.
func (r *run) fill(s *service) error {
	file, err := os.Create(r.ballast(s))
	if err != nil {
		return err
	}
	defer file.Close()
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	return nil // it is full
}

// databaseLocked takes the write lock of PlatformService's database, for longer
// than a writer waits.
func databaseLocked(ctx context.Context, r *run) error {
	if _, err := r.pair(); err != nil {
		return err
	}
	db, err := openSQLite(r.platformsFile())
	if err != nil {
		return err
	}
	defer db.Close()
	var lock *sql.Tx
	take := func() error {
		lock, err = db.BeginTx(ctx, nil)
		return err
	}
	return r.storageFault(ctx, take, func() error { return lock.Rollback() })
}

// openSQLite opens a service's database. A transaction takes the lock of writers.
func openSQLite(file string) (*sql.DB, error) {
	return sql.Open("sqlite3", "file:"+file+"?_busy_timeout=5000&_journal_mode=WAL&_txlock=immediate")
}

// storageFault breaks PlatformService's storage until some POSTs have been
// refused for it, and fixes it. Before it judges what became of the load, it runs
// the checks of its caller.
func (r *run) storageFault(ctx context.Context, breakIt, mend func() error, checks ...func() error) error {
	if err := r.begin(ctx, usual()); err != nil {
		return err
	}
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.phase(fault)
	if err := breakIt(); err != nil {
		return fmt.Errorf("break the storage: %w", err)
	}
	if err := r.lasts(ctx, r.times(20*time.Second)); err != nil {
		return err
	}
	// A locked database refuses nothing before a writer has waited its time.
	if _, err := r.within(ctx, startTimeout, func(context.Context) error {
		if !slices.ContainsFunc(r.load.history(), func(p post) bool { return p.outcome == refused }) {
			return errors.New("no POST was refused")
		}
		return nil
	}); err != nil {
		return err
	}
	r.phase(recovering)
	if err := mend(); err != nil {
		return fmt.Errorf("repair the storage: %w", err)
	}
	took, err := r.within(ctx, r.recovery(), r.flows)
	r.expect(fmt.Sprintf("platforms to be accepted and to arrive within %s of the repair", r.recovery()), err == nil, "%s", tookOr(took, err))
	r.phase(after)
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
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
	return nil
}
