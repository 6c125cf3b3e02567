// Command poison publishes an event that isn't JSON. It is behind the console of
// go tool lab run, and takes the exchange as its argument and the broker from
// RABBITMQ_URL.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: poison EXCHANGE")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	if err := publish(ctx, os.Getenv("RABBITMQ_URL"), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "poison:", err)
		os.Exit(1)
	}
}

// publish publishes the event, and returns once the broker has confirmed it.
func publish(ctx context.Context, url, exchange string) error {
	connection, err := amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(20 * time.Second)})
	if err != nil {
		return fmt.Errorf("connect to the broker: %w", err)
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := channel.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirms: %w", err)
	}
	returned := channel.NotifyReturn(make(chan amqp.Return, 1)) // the broker returns it before it confirms it
	const mandatory, immediate = true, false
	sent, err := channel.PublishWithDeferredConfirmWithContext(ctx, exchange, "", mandatory, immediate, amqp.Publishing{
		DeliveryMode: amqp.Persistent,
		ContentType:  "application/json",
		Type:         "Platform_Published",
		MessageId:    fmt.Sprintf("poison-%x", time.Now().UnixNano()),
		Timestamp:    time.Now(),
		Body:         []byte("this is not JSON"),
	})
	if err != nil {
		return fmt.Errorf("publish to %s: %w", exchange, err)
	}
	confirmed, err := sent.WaitContext(ctx)
	if err == nil && !confirmed {
		err = errors.New("the broker refused it")
	}
	if err == nil && len(returned) > 0 {
		err = errors.New("no queue takes it")
	}
	if err != nil {
		return fmt.Errorf("publish to %s: %w", exchange, err)
	}
	return nil
}
