// Where the parts of the map are: wide for a screen, tall for a phone. Numbers are SVG's, from the top left.
// A path begins where the message comes from. value and caption are [x, y, anchor] of an edge's texts.

export const wide = {
  width: 1288,
  top: 66, // the first number that is shown
  alone: 96, // and from the left, where there is no gateway
  nodes: {
    client: { x: 16, alone: 112, y: 100, w: 96, h: 60, title: 'client', sub: 'you' },
    gateway: { x: 174, y: 100, w: 108, h: 60, title: 'gateway' },
    platformservice: { x: 344, y: 88, w: 196, h: 84, title: 'PlatformService' },
    'platforms-db': { x: 344, y: 258, w: 196, h: 194, title: 'its database', box: true },
    platforms: { x: 360, y: 296, w: 164, h: 44, title: 'platforms', tray: true, in: 'platforms-db' },
    outbox: { x: 360, y: 356, w: 164, h: 80, title: 'outbox', tray: true, in: 'platforms-db' },
    relay: { x: 606, y: 366, w: 84, h: 60, title: 'relay', in: 'platformservice' },
    broker: { x: 760, y: 236, w: 272, h: 304, title: 'broker', box: true },
    exchange: { x: 776, y: 366, w: 60, h: 60, title: 'exchange', round: true, in: 'broker' },
    retry: { x: 868, y: 268, w: 150, h: 56, title: 'retry', tray: true, in: 'broker' },
    queue: { x: 868, y: 356, w: 150, h: 80, title: 'queue', tray: true, in: 'broker' },
    'dead-letters': { x: 868, y: 466, w: 150, h: 58, title: 'dead letters', tray: true, in: 'broker' },
    commandsservice: { x: 1096, y: 88, w: 176, h: 84, title: 'CommandsService' },
    'commands-db': { x: 1096, y: 258, w: 176, h: 98, title: 'its database', box: true },
    copies: { x: 1112, y: 296, w: 144, h: 44, title: 'platforms', tray: true, in: 'commands-db' },
    console: { x: 1096, y: 470, w: 176, h: 66, title: 'console', sub: 'listening too' },
  },
  asides: { outbox: [330, 372, 'end'] },
  edges: {
    request: { path: 'M112,130 H174', value: [143, 120, 'middle'] },
    route: { path: 'M282,130 H344', value: [313, 120, 'middle'] },
    direct: { path: 'M208,130 H344', value: [276, 120, 'middle'], caption: [276, 148, 'middle'] },
    commit: { path: 'M442,172 V258', value: [454, 212, 'start'], caption: [454, 230, 'start'] },
    take: { path: 'M524,396 H606', value: [573, 384, 'middle'], caption: [573, 418, 'middle'] },
    publish: { path: 'M690,396 H776', value: [725, 384, 'middle'], caption: [725, 418, 'middle'] },
    publishDirect: { path: 'M540,150 H660 V396 H776', value: [672, 290, 'start'], caption: [672, 308, 'start'] },
    enqueue: { path: 'M836,396 H868', value: [866, 358, 'end'] },
    deliver: { path: 'M1018,410 H1068 V150 H1096', value: [1078, 200, 'start'], caption: [1078, 218, 'start'] },
    ack: { path: 'M1096,126 H1046 V384 H1018', value: [1036, 196, 'end'], caption: [1036, 214, 'end'], back: true },
    store: { path: 'M1200,172 V258', value: [1210, 208, 'start'], caption: [1210, 226, 'start'] },
    retry: { path: 'M930,356 V324', value: [940, 344, 'start'] },
    dead: { path: 'M930,436 V466', value: [922, 455, 'end'] },
    replay: { path: 'M954,466 V436', value: [962, 455, 'start'], back: true },
    copy: { path: 'M806,426 V572 H1184 V536', caption: [816, 564, 'start'], quiet: true },
    backfill: { path: 'M540,106 H1096', value: [824, 96, 'middle'], caption: [824, 124, 'middle'], quiet: true },
    notify: { path: 'M540,130 H1096', value: [824, 120, 'middle'], caption: [824, 148, 'middle'] },
  },
};

export const tall = {
  width: 360,
  top: 0,
  nodes: {
    client: { x: 12, y: 12, w: 80, h: 48, title: 'client', sub: 'you' },
    gateway: { x: 152, y: 12, w: 92, h: 48, title: 'gateway' },
    platformservice: { x: 84, y: 108, w: 220, h: 64, title: 'PlatformService' },
    'platforms-db': { x: 84, y: 226, w: 220, h: 172, title: 'its database', box: true },
    platforms: { x: 96, y: 256, w: 196, h: 42, title: 'platforms', tray: true, in: 'platforms-db' },
    outbox: { x: 96, y: 310, w: 196, h: 76, title: 'outbox', tray: true, in: 'platforms-db' },
    relay: { x: 12, y: 436, w: 84, h: 48, title: 'relay', in: 'platformservice' },
    broker: { x: 12, y: 512, w: 300, h: 250, title: 'broker', box: true },
    exchange: { x: 24, y: 606, w: 60, h: 60, title: 'exchange', round: true, in: 'broker' },
    retry: { x: 140, y: 536, w: 160, h: 52, title: 'retry', tray: true, in: 'broker' },
    queue: { x: 140, y: 610, w: 160, h: 66, title: 'queue', tray: true, in: 'broker' },
    'dead-letters': { x: 140, y: 698, w: 160, h: 52, title: 'dead letters', tray: true, in: 'broker' },
    commandsservice: { x: 110, y: 806, w: 192, h: 60, title: 'CommandsService' },
    'commands-db': { x: 110, y: 880, w: 0, h: 0, title: '', hidden: true },
    copies: { x: 110, y: 884, w: 192, h: 30, title: 'platforms', tray: true, in: 'commandsservice' },
    console: { x: 12, y: 806, w: 78, h: 60, title: 'console', sub: 'this page' },
  },
  asides: {},
  edges: {
    request: { path: 'M92,36 H152', value: [122, 28, 'middle'] },
    route: { path: 'M194,60 V108', value: [204, 80, 'start'], caption: [204, 96, 'start'] },
    direct: { path: 'M58,60 V140 H84', value: [68, 84, 'start'], caption: [68, 100, 'start'] },
    commit: { path: 'M194,172 V226', value: [204, 194, 'start'], caption: [204, 212, 'start'] },
    take: { path: 'M96,348 H54 V436', value: [64, 424, 'start'] },
    publish: { path: 'M54,484 V606', value: [64, 503, 'start'] },
    publishDirect: { path: 'M84,150 H54 V606', value: [64, 440, 'start'], caption: [64, 456, 'start'] },
    enqueue: { path: 'M84,636 H140', value: [112, 626, 'middle'] },
    deliver: { path: 'M300,650 H326 V826 H302', value: [318, 784, 'end'], caption: [250, 784, 'end'] },
    ack: { path: 'M302,846 H338 V634 H300', value: [330, 600, 'end'], back: true },
    store: { path: 'M206,866 V884', value: [356, 904, 'end'] },
    retry: { path: 'M206,610 V588', value: [214, 604, 'start'] },
    dead: { path: 'M206,676 V698', value: [198, 692, 'end'] },
    replay: { path: 'M230,698 V676', value: [238, 692, 'start'], back: true },
    copy: { path: 'M54,666 V806', quiet: true },
    backfill: { path: 'M304,140 H350 V856 H302', value: [344, 432, 'end'], quiet: true },
    notify: { path: 'M304,140 H330 V826 H302', value: [322, 480, 'end'], caption: [322, 496, 'end'] },
  },
};

/** tallWithoutBroker is tall with nothing between the services. */
export const tallWithoutBroker = {
  ...tall,
  nodes: { ...tall.nodes, commandsservice: { ...tall.nodes.commandsservice, y: 396 }, copies: { ...tall.nodes.copies, y: 474 } },
  edges: {
    ...tall.edges,
    store: { path: 'M206,456 V474', value: [356, 494, 'end'] },
    notify: { path: 'M304,140 H330 V416 H302', value: [322, 346, 'end'], caption: [322, 362, 'end'] },
  },
};

/** captions say what happens on an edge, and ends which parts it needs. */
export const edges = {
  request: { caption: '', ends: ['client', 'gateway'], hop: 'accepted' },
  route: { caption: '', ends: ['gateway', 'platformservice'], hop: 'accepted' },
  direct: { caption: 'POST', ends: ['client', 'platformservice'], hop: 'accepted' },
  commit: { caption: 'both, or neither', // where there is an outbox; else it just stores
    plain: 'stores', ends: ['platformservice', 'platforms-db'], hop: 'accepted' },
  take: { caption: 'reads', ends: ['outbox', 'relay'], hop: 'outbox' },
  publish: { caption: 'sends', ends: ['relay', 'exchange'], hop: 'relay' },
  publishDirect: { caption: 'publishes', ends: ['platformservice', 'exchange'], hop: 'published' },
  enqueue: { caption: '', ends: ['exchange', 'queue'], hop: 'confirmed' },
  deliver: { caption: 'delivers', ends: ['queue', 'commandsservice'], hop: 'delivered' },
  ack: { caption: 'acknowledges', ends: ['commandsservice', 'queue'], hop: 'acknowledged' },
  store: { caption: 'stores', ends: ['commandsservice', 'commands-db'], hop: 'stored' },
  retry: { caption: '', ends: ['queue', 'retry'], hop: 'retried' },
  dead: { caption: '', ends: ['queue', 'dead-letters'], hop: 'dead_lettered' },
  replay: { caption: '', ends: ['dead-letters', 'queue'], hop: 'replayed' },
  copy: { caption: 'the same event, to a second listener', ends: ['exchange', 'console'], hop: 'published' },
  backfill: { caption: 'backfill: what CommandsService missed, by gRPC', ends: ['platformservice', 'commandsservice'], hop: 'backfilled' },
  notify: { caption: 'POST /api/c/platforms: waits for the answer', ends: ['platformservice', 'commandsservice'], hop: 'notified' },
};
