package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// brokerStep bounds each step of a conversation with the broker.
const brokerStep = 30 * time.Second

// dialBroker connects to the broker at url.
func dialBroker(ctx context.Context, url string) (*amqp.Connection, error) {
	return amqp.DialConfig(url, amqp.Config{
		Locale: "en_US",
		Dial: func(network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: brokerStep}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return conn, conn.SetDeadline(time.Now().Add(brokerStep)) // of the handshake
		},
	})
}

// onChannel connects to the broker and calls do with a channel.
func onChannel(ctx context.Context, url string, do func(*amqp.Channel) error) error {
	connection, err := dialBroker(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to the broker: %w", err)
	}
	defer func() { _ = connection.CloseDeadline(time.Now().Add(brokerStep)) }()
	channel, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	return do(channel)
}

// depth returns how many messages are ready in a queue.
func depth(ctx context.Context, url, queue string) (int, error) {
	messages := 0
	err := onChannel(ctx, url, func(channel *amqp.Channel) error {
		q, err := channel.QueueDeclarePassive(queue, true, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("queue %s: %w", queue, err)
		}
		messages = q.Messages
		return nil
	})
	return messages, err
}

// publish sends bodies to an exchange and waits for the broker's confirms.
func publish(ctx context.Context, url, exchange string, bodies [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return onChannel(ctx, url, func(channel *amqp.Channel) error {
		if err := channel.Confirm(false); err != nil {
			return fmt.Errorf("confirm: %w", err)
		}
		for _, body := range bodies {
			confirmed, err := channel.PublishWithDeferredConfirmWithContext(ctx, exchange, "", false, false, amqp.Publishing{
				ContentType: "application/json", DeliveryMode: amqp.Persistent, Type: "Platform_Published", Body: body,
			})
			if err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			ok, err := confirmed.WaitContext(ctx)
			if err == nil && !ok {
				err = errNotConfirmed
			}
			if err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
		return nil
	})
}

// errNotConfirmed is returned for a message that the broker rejects.
var errNotConfirmed = errors.New("not confirmed")

// take gets every message that is ready in a queue. Those that replay selects move to
// the queue to; the others stay.
func take(ctx context.Context, url, queue, to string, replay func(amqp.Delivery) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return onChannel(ctx, url, func(channel *amqp.Channel) error {
		if err := channel.Confirm(false); err != nil {
			return fmt.Errorf("confirm: %w", err)
		}
		for {
			message, ok, err := channel.Get(queue, false)
			if err != nil {
				return fmt.Errorf("get from %s: %w", queue, err)
			}
			if !ok {
				return nil // the others return to the queue when the connection closes
			}
			if !replay(message) {
				continue
			}
			confirmed, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", to, true, false, amqp.Publishing{
				ContentType: message.ContentType, DeliveryMode: amqp.Persistent, Type: message.Type,
				MessageId: message.MessageId, Timestamp: message.Timestamp, Body: message.Body,
			})
			if err != nil {
				return fmt.Errorf("publish to %s: %w", to, err)
			}
			if ok, err := confirmed.WaitContext(ctx); err != nil || !ok {
				return errors.Join(errors.New("publish to "+to+": not confirmed"), err)
			}
			if err := message.Ack(false); err != nil {
				return fmt.Errorf("ack: %w", err)
			}
		}
	})
}
