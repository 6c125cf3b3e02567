package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
)

// request sends one HTTP request, with a JSON body unless that is empty, and
// returns the status, "200 OK", and the body of the response. It speaks the
// protocol itself: net/http would double the time that this tool compiles. ctx
// must have a deadline.
func request(ctx context.Context, address, method, path, body string, headers ...string) (status, response string, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", "", err
	}
	head := fmt.Sprintf("%s %s HTTP/1.0\r\nHost: %s\r\n", method, path, address)
	if body != "" {
		head += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	for _, header := range headers {
		head += header + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"+body); err != nil {
		return "", "", err
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		return "", "", err
	}
	start, content, _ := strings.Cut(string(all), "\r\n\r\n")
	start, _, _ = strings.Cut(start, "\r\n")
	_, status, found := strings.Cut(start, " ")
	if !found {
		return "", "", fmt.Errorf("%s does not speak HTTP", address)
	}
	return status, strings.TrimSpace(content), nil
}
