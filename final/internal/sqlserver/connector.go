package sqlserver

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"
)

// loginTimeout bounds dialing and login, unless the URL has a "connection
// timeout" or the connection string a "Connect Timeout", in seconds.
const loginTimeout = 15 * time.Second

// cancelTimeout is how long the driver may take to cancel a request.
const cancelTimeout = 100 * time.Millisecond

var (
	errNoConnection   = errors.New("connect to SQL Server")         // dialing or login failed
	errConnectionLost = errors.New("connection to SQL Server lost") // the request may have been executed
)

// ErrNotConfirmed marks the error of a commit that SQL Server may have done, or
// may not: the connection or the session ended before it said so. Such an error is
// Unavailable, too.
var ErrNotConfirmed = errors.New("commit not confirmed")

// connector makes connections whose calls end when their context does.
// With the driver's own a silent server holds up the caller:
//   - A login respects the context while it dials, and then only in part.
//   - When the context of a request ends, the driver cancels the request at the
//     server, and waits 5 s for the server to confirm that.
type connector struct {
	config       msdsn.Config
	loginTimeout time.Duration
}

func newConnector(config msdsn.Config) *connector {
	c := &connector{config: config, loginTimeout: loginTimeout}
	if config.ConnTimeout > 0 {
		c.loginTimeout = config.ConnTimeout
	}
	c.config.ConnTimeout = 0 // with it the driver would set a deadline before each read, and undo ours
	return c
}

// Connect dials and logs in. When ctx ends the connection is closed, and with
// that the login ends.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.loginTimeout)
	defer cancel()
	dialer := &loginDialer{login: ctx, host: c.config.Host, dialer: net.Dialer{KeepAlive: c.config.KeepAlive}}
	driverConnector := mssql.NewConnectorConfig(c.config)
	driverConnector.Dialer = dialer
	conn, err := driverConnector.Connect(ctx)
	if err == nil && !dialer.keep() {
		conn.Close()
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoConnection, withContextError(ctx, err))
	}
	return &connection{Conn: conn.(*mssql.Conn), tcp: dialer.conn}, nil
}

// Driver returns the driver's Driver.
func (c *connector) Driver() driver.Driver { return &mssql.Driver{} }

// loginDialer dials for one login. The driver may dial again, for a failover
// partner or a redirect: the last connection is the one that it uses.
type loginDialer struct {
	login  context.Context
	host   string
	dialer net.Dialer
	conn   net.Conn
	keep   func() bool // leaves conn open after login has ended; false if that is too late
}

func (d *loginDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	d.conn = conn
	d.keep = context.AfterFunc(d.login, func() { conn.Close() })
	return conn, nil
}

// HostName makes the driver leave it to DialContext to look up the name: the
// driver would do so without a context.
func (d *loginDialer) HostName() string { return d.host }

// connection is a connection of the driver. Here and in its statements, rows
// and transactions, each method that waits for the server is watched.
type connection struct {
	*mssql.Conn
	tcp net.Conn
	cut bool // a context ended during a call: what the server sends next may belong to that call
}

// watch begins a call: cancelTimeout after the end of ctx, reading and writing
// fail. The call ends with end, which completes its error.
func (c *connection) watch(ctx context.Context) (end func(error) error) {
	stop := context.AfterFunc(ctx, func() { c.tcp.SetDeadline(time.Now().Add(cancelTimeout)) })
	return func(err error) error {
		c.cut = !stop() || c.cut
		return c.explain(ctx, err)
	}
}

// explain adds to err that ctx has ended, or that the connection is lost.
func (c *connection) explain(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil && !c.Conn.IsValid() {
		return fmt.Errorf("%w: %w", errConnectionLost, err)
	}
	return withContextError(ctx, err)
}

// withContextError adds to err that ctx has ended, unless it says so already.
func withContextError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w: %w", ctx.Err(), err)
}

// IsValid tells database/sql whether to keep the connection.
func (c *connection) IsValid() bool { return !c.cut && c.Conn.IsValid() }

func (c *connection) Ping(ctx context.Context) error {
	end := c.watch(ctx)
	return end(c.Conn.Ping(ctx))
}

func (c *connection) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stmt, err := c.Conn.PrepareContext(ctx, query) // sends nothing
	if err != nil {
		return nil, err
	}
	return statement{stmt.(*mssql.Stmt), c}, nil
}

func (c *connection) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	end := c.watch(ctx)
	if _, err := c.Conn.BeginTx(ctx, options); err != nil {
		return nil, end(err)
	}
	return transaction{c, ctx}, end(nil)
}

// transaction is a transaction, with the context of BeginTx: Commit and
// Rollback get none.
type transaction struct {
	conn *connection
	ctx  context.Context
}

func (t transaction) Commit() error {
	end := t.conn.watch(t.ctx)
	err := end(t.conn.Conn.Commit())
	if err != nil && !refused(err) {
		return fmt.Errorf("%w: %w", ErrNotConfirmed, err)
	}
	return err
}

func (t transaction) Rollback() error {
	if t.ctx.Err() != nil {
		return driver.ErrBadConn // database/sql closes the connection, and SQL Server rolls back
	}
	end := t.conn.watch(t.ctx)
	return end(t.conn.Conn.Rollback())
}

type statement struct {
	*mssql.Stmt
	conn *connection
}

func (s statement) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	end := s.conn.watch(ctx)
	result, err := s.Stmt.ExecContext(ctx, args)
	return result, end(err)
}

func (s statement) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	end := s.conn.watch(ctx)
	rows, err := s.Stmt.QueryContext(ctx, args)
	if err != nil {
		return nil, end(err)
	}
	return &resultRows{rows.(*mssql.Rows), s.conn, ctx, end}, nil
}

// resultRows are rows that are being received. The call that QueryContext
// began ends with Close.
type resultRows struct {
	*mssql.Rows
	conn *connection
	ctx  context.Context
	end  func(error) error
}

func (r *resultRows) Next(row []driver.Value) error {
	err := r.Rows.Next(row)
	if err == io.EOF { // the end of the rows
		return err
	}
	return r.conn.explain(r.ctx, err)
}

// Close reads the response to its end. QueryRow closes the rows after the first,
// and the driver's Close would then cancel a statement whose response is not
// complete, and lose an error at its end.
func (r *resultRows) Close() error {
	row := make([]driver.Value, len(r.Columns()))
	var err error
	for err == nil {
		err = r.Rows.Next(row)
	}
	closeErr := r.Rows.Close()
	if err == io.EOF {
		err = closeErr
	}
	return r.end(err)
}
