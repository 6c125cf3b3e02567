// Package legend explains the table of a drill, for its report and for lab help.
package legend

// Text is the explanation, a paragraph for each word.
const Text = `accepted    POSTs with a 201: the platform exists, and nothing may lose it.
            A row has the POSTs begun in that part, and all has their sum
refused     POSTs with a 4xx or 503: the platform must not exist
unknown     POSTs without a response, or with an ambiguous one: the platform
            may exist, once
arrived     accepted, and in CommandsService at the end
missing     accepted, and not in both services
untold      in PlatformService and not in CommandsService, whatever response
            the client got
duplicated  more than once in a service; under two ids: in both services, but
            not with the same id
phantom     in a service, though it was refused or never sent
p50         half of them took no longer; p99: 99 of 100; max: all; in
            milliseconds. POST: the accepted ones
arrival     from the 201 until CommandsService lists it. A long max before a
            fault: a platform accepted just before it, which arrived after it.
            Platforms that arrived as CommandsService ended do not count, since
            nothing could see when they did
second subscriber  a separate queue at the broker, as another team's service
            would have
`
