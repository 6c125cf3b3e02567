// What does each hop: the function, some of its lines, and the lesson. A test of docs/tools/verify holds this against
// the code: everything between the two marks is JSON, and every line must be in the function, in this order.

import { h } from './dom.js';
import { labels } from './words.js';

/* where: */
export const where = {
  "final": {
    "accepted": {
      "says": "One transaction stores the platform and its event: both, or neither. The answer is a 201 as soon as it has committed.",
      "file": "final/platformservice/sqlite.go", "symbol": "(*sqliteStore).insert", "lesson": "final/pieces/01-outbox.md",
      "lines": ["result, err := tx.Stmt(s.insertPlatform).Exec(p.Name, p.Publisher, p.Cost)", "_, err = tx.Stmt(s.insertEvent).Exec(event.ID, event.Type, event.Body, event.Headers[\"traceparent\"], event.Headers[\"tracestate\"])"]
    },
    "refused": {
      "says": "One table leads from errors to status codes. Nothing was stored.",
      "file": "final/internal/web/problem.go", "symbol": "ProblemOf", "lesson": "final/pieces/05-limits-and-ids.md",
      "lines": ["case errors.As(err, &fields):", "return Invalid(fields)"]
    },
    "notified": {
      "says": "The call of chapter 02: PlatformService waits for CommandsService. It is off in final.",
      "file": "final/platformservice/rest.go", "symbol": "(*restAPI).notifyCommands", "lesson": "02-http-sync/README.md",
      "lines": ["if err := a.commands.sendPlatform(ctx, p); err != nil {"]
    },
    "outbox": {
      "says": "The relay reads the events that are pending. Until then they wait in the database, for as long as it takes.",
      "file": "final/internal/outbox/relay.go", "symbol": "(*batches).publish", "lesson": "final/pieces/02-relay.md",
      "lines": ["events, err := b.store.PendingEvents(ctx, b.confirmed.last(), limit)"]
    },
    "relay": {
      "says": "The relay sends waiting events to the exchange, in order.",
      "file": "final/platformservice/publisher.go", "symbol": "(*brokerLink).send", "lesson": "final/pieces/08-bus.md",
      "lines": ["confirmation, err := l.channel.PublishWithDeferredConfirmWithContext(ctx, exchange, \"\", mandatory, immediate, publishing(m))"]
    },
    "published": {
      "says": "A fanout exchange gives each event to every queue: the console has one of its own, and neither service knows of it.",
      "file": "final/console/events.go", "symbol": "(*journey).event", "lesson": "final/pieces/26-console-signals.md",
      "lines": []
    },
    "confirmed": {
      "says": "The broker confirms when the message is safe in every queue. Only then the event is marked as published.",
      "file": "final/platformservice/publisher.go", "symbol": "(*brokerLink).waitConfirmed", "lesson": "final/pieces/08-bus.md",
      "lines": ["ack, err := m.confirmation.WaitContext(ctx)", "confirmed++"]
    },
    "delivered": {
      "says": "The broker delivers to one of the subscribers, and keeps the message until it is acknowledged.",
      "file": "final/commandsservice/subscriber.go", "symbol": "(*rabbitMQSubscriber).handleBatches", "lesson": "final/pieces/11-batches.md",
      "lines": ["case first := <-c.arrived:", "batch := c.batch(first, max(1, p.limit()/2))"]
    },
    "stored": {
      "says": "An upsert stores the platform: the second time, the same event changes nothing.",
      "file": "final/commandsservice/event_processor.go", "symbol": "(*eventProcessor).upsert", "lesson": "final/pieces/10-commands-data.md",
      "lines": ["stored, errs = upsertEach(attempt, p.store, platforms)"]
    },
    "acknowledged": {
      "says": "The transaction has committed, so the broker may let go.",
      "file": "final/commandsservice/subscriber.go", "symbol": "(*mover).settle", "lesson": "final/pieces/11-batches.md",
      "lines": ["case d.err == nil:"]
    },
    "retried": {
      "says": "An event that fails waits in a retry queue, longer each time, and blocks nothing.",
      "file": "final/commandsservice/subscriber_mover.go", "symbol": "destinationOf", "lesson": "final/pieces/09-dead-letters.md",
      "lines": ["to.queue = retryQueue(queue, delays[before])"]
    },
    "dead_lettered": {
      "says": "An event that can’t be used, or has failed too often, is put aside with the reason.",
      "file": "final/commandsservice/subscriber_mover.go", "symbol": "destinationOf", "lesson": "final/pieces/09-dead-letters.md",
      "lines": ["to.queue = bus.DeadQueue(queue)", "headers[bus.ErrorHeader] = short(d.err)"]
    },
    "replayed": {
      "says": "A dead letter is published again, to this service’s queue alone, and removed once the broker has confirmed it.",
      "file": "final/cmd/dlq/commands.go", "symbol": "(*deadLetters).replay", "lesson": "final/pieces/09-dead-letters.md",
      "lines": ["if err := send(ctx, sender, l.cfg.queue, d, &alarm); err != nil {", "return l.remove(d)"]
    },
    "dropped": {
      "says": "A person has decided that nothing needs this event.",
      "file": "final/cmd/dlq/commands.go", "symbol": "(*deadLetters).drop", "lesson": "final/pieces/09-dead-letters.md",
      "lines": ["if err := l.remove(d); err != nil {"]
    },
    "backfilled": {
      "says": "CommandsService asks for what it has missed: a queue has no past.",
      "file": "final/commandsservice/backfill.go", "symbol": "(*backfillRun).attempt", "lesson": "final/pieces/12-streamed-backfill.md",
      "lines": ["err := r.client.platforms(ctx, r.after, func(batch []platform) error { return r.storeBatch(ctx, batch) })"]
    }
  },
  "02": {
    "accepted": {
      "says": "The platform is stored. Then PlatformService calls CommandsService, and the client waits for that, too.",
      "file": "02-http-sync/platformservice/rest.go", "symbol": "(*restAPI).create", "lesson": "02-http-sync/README.md",
      "lines": ["created, err := a.store.createPlatform(ctx, body.toPlatform())", "a.notifyCommands(ctx, created)"]
    },
    "notified": {
      "says": "One call, waited for. If it fails, nothing remembers that it has to be made again.",
      "file": "02-http-sync/platformservice/commands_client.go", "symbol": "(*commandsClient).sendPlatform", "lesson": "02-http-sync/README.md",
      "lines": ["response, err := c.http.Do(request)"]
    },
    "stored": {
      "says": "CommandsService stores what it is sent.",
      "file": "02-http-sync/commandsservice/rest.go", "symbol": "(*restAPI).receivePlatform", "lesson": "02-http-sync/README.md",
      "lines": []
    }
  },
  "06": {
    "accepted": {
      "says": "The platform is stored, and then the event is published: two writes, and a crash can come between them.",
      "file": "06-rabbitmq/platformservice/rest.go", "symbol": "(*restAPI).create", "lesson": "06-rabbitmq/README.md",
      "lines": ["a.publish(ctx, created)"]
    },
    "published": {
      "says": "Written to the connection: that doesn’t mean that the broker has it.",
      "file": "06-rabbitmq/platformservice/publisher.go", "symbol": "(*publisher).publish", "lesson": "06-rabbitmq/README.md",
      "lines": ["err := channel.PublishWithContext(ctx, p.exchange, routingKey, mandatory, immediate, amqp.Publishing{"]
    },
    "delivered": {
      "says": "The broker forgets the message as soon as it has sent it.",
      "file": "06-rabbitmq/commandsservice/subscriber.go", "symbol": "(*subscriber).receive", "lesson": "06-rabbitmq/README.md",
      "lines": ["case delivery, ok := <-deliveries:"]
    },
    "stored": {
      "says": "If this fails, the event is lost: there is no caller to return an error to.",
      "file": "06-rabbitmq/commandsservice/event_processor.go", "symbol": "(*eventProcessor).process", "lesson": "06-rabbitmq/README.md",
      "lines": ["added, err := p.store.addPlatform(ctx, received)"]
    }
  },
  "07": {
    "backfilled": {
      "says": "CommandsService asks for all platforms when it starts, and stores those that it doesn’t have.",
      "file": "07-grpc/commandsservice/backfill.go", "symbol": "(*backfill).attempt", "lesson": "07-grpc/README.md",
      "lines": ["platforms, err := b.client.platforms(ctx)", "added, err := b.store.addPlatform(ctx, p)"]
    }
  }
};
/* :where */

/** lessonHref makes a link of a lesson's path; the book sets it. Without it the path is text. */
export const links = { lessonHref: null };

/** find returns what does a hop in a stage: chapter 07 does most of it as 06 does, and every stage falls back to final. */
export function find(hop, stage) {
  const chapters = { '02': ['02'], '06': ['06'], '07': ['07', '06'] }[stage] ?? [];
  for (const chapter of [...chapters, 'final']) if (where[chapter][hop]) return where[chapter][hop];
  return null;
}

/** showHop opens a dialog that shows what does a hop. */
export function showHop(hop, state) {
  const found = find(hop, state?.run?.stage);
  if (!found) return;
  const href = links.lessonHref?.(found.lesson);
  const close = h('button', { type: 'button', class: 'mc-primary', click: () => dialog.close() }, 'Close');
  const dialog = h('dialog', { class: 'mc mc-dialog', 'aria-labelledby': 'mc-dialog-title' },
    h('h2', { id: 'mc-dialog-title' }, labels[hop] ?? hop),
    h('p', {}, found.says),
    h('dl', {},
      h('dt', {}, 'file'), h('dd', {}, h('code', {}, found.file)),
      h('dt', {}, 'function'), h('dd', {}, h('code', {}, found.symbol)),
      h('dt', {}, 'lesson'), h('dd', {}, href ? h('a', { href }, found.lesson) : h('code', {}, found.lesson))),
    found.lines.length > 0 ? h('pre', {}, h('code', {}, found.lines.join('\n…\n'))) : null,
    close);
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
}
