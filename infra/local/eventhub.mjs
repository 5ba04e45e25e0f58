// A stand-in for Azure Event Hubs on this machine: AMQP 1.0 over plain TCP on
// the loopback address, everything in memory, gone when it stops.
//
// It answers what Microsoft's clients ask, the Go client (azeventhubs/v2) and the
// .NET client of the Functions host (Azure.Messaging.EventHubs 5.12): claims
// ($cbs), hub and partition properties ($management), batches sent to a
// partition, to a key or to any partition, and reads that start at an offset, a
// sequence number or a time. A reader gets no more than the credit it gave. A
// reader with an owner level (epoch) takes the partition from older readers.
//
//   node eventhub.mjs [--port N] [--hub NAME:PARTITIONS]... [options]
//
//   --port N               0 (default) takes a free port
//   --hub NAME:PARTITIONS  repeatable; default podwatch:2
//   --group NAME           repeatable; refuse other consumer groups than these and $Default
//   --max-message-size N   bytes of one transfer, default 1048576 as in Event Hubs
//   --retain-bytes N       per partition; the oldest messages go first. Default 4 GiB
//   --first N              first sequence number and offset. Default: from the machine's clock, so that
//                          checkpoints of an earlier instance are behind every message of this one
//   --clock TIME --step MS every message is enqueued MS after the one before it, from TIME on
//                          (RFC 3339); default: the machine's clock
//   --unauthorized         refuse every claim with 401
//   --exit-with-stdin      stop when standard input ends: no orphan when a test dies
//
// When it is ready it prints one line: "ready 127.0.0.1:PORT".
// It checks no key and no signature: any connection string fits whose endpoint
// is sb://127.0.0.1:PORT and which says UseDevelopmentEmulator=true.

import { parseArgs } from 'node:util';
import rhea from 'rhea';

const { types, message } = rhea;

// rhea decodes what is no batch, and encoding it again would change types, such
// as uuid and char. A decoded message keeps its bytes.
const decode = message.decode;
message.decode = (bytes) => Object.defineProperty(decode(bytes), 'encoded', { value: bytes });

const { values: flags } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    hub: { type: 'string', multiple: true, default: ['podwatch:2'] },
    group: { type: 'string', multiple: true, default: [] },
    'max-message-size': { type: 'string', default: '1048576' },
    'retain-bytes': { type: 'string', default: String(4 * 2 ** 30) },
    first: { type: 'string', default: String((Date.now() - Date.UTC(2020, 0)) * 2 ** 13) }, // 8 MiB of offsets a second
    clock: { type: 'string' },
    step: { type: 'string', default: '1000' },
    unauthorized: { type: 'boolean', default: false },
    'exit-with-stdin': { type: 'boolean', default: false },
  },
});

const MAX_MESSAGE_SIZE = number('max-message-size');
const RETAIN_BYTES = number('retain-bytes');
const FIRST = number('first');
const MAX_READERS = 5; // per consumer group and partition, without an owner level
const WRITE_AHEAD = 4 << 20; // bytes waiting in one socket before a reader has to wait
const SMALL = 16 << 10; // bytes of a message that is not worth a write of its own
const BATCH_FORMAT = 0x80013700;
const DATA = 0x75;
const MESSAGE_ANNOTATIONS = 0x72;

function number(flag) {
  const n = Number(flags[flag]);
  if (!Number.isSafeInteger(n) || n < 0) usage(`--${flag} wants a whole number, got "${flags[flag]}"`);
  return n;
}

function usage(text) {
  console.error(`eventhub: ${text}`);
  process.exit(2);
}

const now = (() => {
  if (flags.clock === undefined) return () => Date.now();
  let next = Date.parse(flags.clock);
  if (Number.isNaN(next)) usage(`--clock wants a time such as 2026-01-31T10:00:00Z, got "${flags.clock}"`);
  const step = number('step');
  return () => {
    const t = next;
    next += step;
    return t;
  };
})();

// ---------------------------------------------------------------- the log

// A Partition is the retained tail of one partition. Items are ordered by
// sequence number, offset and time at once, so a start position is one binary
// search, and sequence numbers have no gaps.
class Partition {
  items = []; // {sequence, offset, time, key, bare}
  head = 0; // index of the oldest retained item
  next = FIRST; // sequence number of the next message
  end = FIRST; // offset of the next message
  bytes = 0;
  last = { sequence: FIRST - 1, offset: String(FIRST - 1), time: 0 };
  readers = new Set();

  append(bare, key) {
    const item = { sequence: this.next++, offset: this.end, time: Math.max(now(), this.last.time), key, bare };
    this.end += bare.length + 64;
    this.bytes += bare.length;
    this.items.push(item);
    this.last = { sequence: item.sequence, offset: String(item.offset), time: item.time };
    while (this.bytes > RETAIN_BYTES && this.head < this.items.length - 1) {
      this.bytes -= this.items[this.head].bare.length;
      this.items[this.head++] = undefined;
    }
    if (this.head > 4096 && this.head > this.items.length / 2) {
      this.items.splice(0, this.head);
      this.head = 0;
    }
  }

  get begin() {
    return this.head < this.items.length ? this.items[this.head].sequence : this.next;
  }

  // at returns the item with this sequence number, or the oldest one that is
  // still retained, or undefined at the end.
  at(sequence) {
    return this.items[this.head + Math.max(0, sequence - this.begin)];
  }

  // seek returns the sequence number at which a reader with this filter starts.
  seek(filter) {
    if (filter === undefined) return this.begin;
    const m = /^amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time)\s*(>=?)\s*'?(@latest|-?\d+)'?$/.exec(filter.trim());
    if (!m) throw new RangeError(`cannot read the selector ${JSON.stringify(filter)}`);
    const [, by, op, value] = m;
    if (value === '@latest') return op === '>=' ? Math.max(this.begin, this.next - 1) : this.next;
    const wanted = Number(value);
    const of = { offset: (i) => i.offset, 'sequence-number': (i) => i.sequence, 'enqueued-time': (i) => i.time }[by];
    let low = this.head;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const v = of(this.items[middle]);
      if (op === '>=' ? v >= wanted : v > wanted) high = middle;
      else low = middle + 1;
    }
    return low < this.items.length ? this.items[low].sequence : this.next;
  }
}

class Hub {
  constructor(name, partitions) {
    this.name = name;
    this.created = flags.clock === undefined ? Date.now() : Date.parse(flags.clock);
    this.partitions = Array.from({ length: partitions }, () => new Partition());
    this.turn = 0;
  }

  // pick chooses the partition of a message: by its key, else by turns.
  pick(key) {
    if (key === undefined) return this.partitions[this.turn++ % this.partitions.length];
    let h = 0x811c9dc5;
    for (const byte of Buffer.from(key)) h = Math.imul(h ^ byte, 0x01000193) >>> 0;
    return this.partitions[h % this.partitions.length];
  }
}

const hubs = new Map();
for (const spec of flags.hub) {
  const m = /^([A-Za-z0-9][A-Za-z0-9._-]*)(?::(\d+))?$/.exec(spec);
  const count = Number(m?.[2] ?? 2);
  if (!m || count < 1 || count > 1024) usage(`--hub wants NAME:PARTITIONS, got "${spec}"`);
  hubs.set(m[1].toLowerCase(), new Hub(m[1], count));
}

// ---------------------------------------------------------------- messages as bytes

// sections walks over the sections of an encoded message without decoding
// their values: [code, start, end, value start].
function* sections(buffer) {
  for (let start = 0; start < buffer.length; ) {
    if (buffer[start] !== 0x00) throw new RangeError('message section without a descriptor');
    let at = start + 1;
    let code;
    if (buffer[at] === 0x53) code = buffer[at + 1];
    else if (buffer[at] === 0x80) code = Number(buffer.readBigUInt64BE(at + 1));
    else throw new RangeError('message section with an unknown descriptor');
    at += buffer[at] === 0x53 ? 2 : 9;
    const end = skip(buffer, at);
    if (end > buffer.length) throw new RangeError('message section beyond the end of the message');
    yield [code, start, end, at];
    start = end;
  }
}

// skip returns the index behind the value at index at. Fixed widths follow
// from the upper half of the constructor byte.
function skip(buffer, at) {
  const constructor = buffer[at];
  if (constructor === 0x00) return skip(buffer, skip(buffer, at + 1));
  switch (constructor >>> 4) {
    case 0x4: return at + 1;
    case 0x5: return at + 2;
    case 0x6: return at + 3;
    case 0x7: return at + 5;
    case 0x8: return at + 9;
    case 0x9: return at + 17;
    case 0xa: case 0xc: case 0xe: return at + 2 + buffer[at + 1];
    case 0xb: case 0xd: case 0xf: return at + 5 + buffer.readUInt32BE(at + 1);
    default: throw new RangeError(`unknown type 0x${constructor.toString(16)}`);
  }
}

function binary(buffer, at) {
  if (buffer[at] === 0xa0) return buffer.subarray(at + 2, at + 2 + buffer[at + 1]);
  if (buffer[at] === 0xb0) return buffer.subarray(at + 5, at + 5 + buffer.readUInt32BE(at + 1));
  throw new RangeError('data section that is not binary');
}

const partitionKey = (section) => message.decode(section).message_annotations?.['x-opt-partition-key'];

// strip takes one encoded message apart: what a consumer gets back unchanged
// (properties, body, footer), and the partition key.
function strip(encoded) {
  let key;
  let bare = 0;
  for (const [code, start, end] of sections(encoded)) {
    if (code > MESSAGE_ANNOTATIONS) break;
    if (code === MESSAGE_ANNOTATIONS) key = partitionKey(encoded.subarray(start, end));
    bare = end;
  }
  return { bare: encoded.subarray(bare), key };
}

// annotated puts the broker's annotations before an item. Written by hand,
// since it is done for every message of every reader.
function annotated(item) {
  const offset = Buffer.from(String(item.offset));
  const key = item.key === undefined ? undefined : Buffer.from(String(item.key));
  const head = Buffer.alloc(160 + (key ? key.length : 0));
  let at = 12; // behind descriptor, constructor, size and count
  const symbol = (name) => {
    head[at++] = 0xa3;
    head[at++] = name.length;
    at += head.write(name, at, 'latin1');
  };
  const text = (value) => {
    head[at++] = 0xa1;
    head[at++] = value.length;
    at += value.copy(head, at);
  };
  const long = (constructor, value) => {
    head[at++] = constructor;
    at = head.writeBigInt64BE(BigInt(value), at);
  };
  symbol('x-opt-sequence-number');
  long(0x81, item.sequence);
  symbol('x-opt-offset');
  text(offset);
  symbol('x-opt-enqueued-time');
  long(0x83, item.time);
  if (key) {
    symbol('x-opt-partition-key');
    text(key);
  }
  head.set([0x00, 0x53, MESSAGE_ANNOTATIONS, 0xd1], 0);
  head.writeUInt32BE(at - 8, 4);
  head.writeUInt32BE(key ? 8 : 6, 8);
  return Buffer.concat([head.subarray(0, at), item.bare]);
}

// ---------------------------------------------------------------- addresses

// A link's address names what it is for. Microsoft's .NET client writes a
// leading slash, its Go client does not.
function resolve(address) {
  const parts = String(address ?? '').replace(/^\//, '').split('/');
  const last = parts.at(-1).toLowerCase();
  if (last === '$cbs') return { kind: 'cbs' };
  if (last === '$management') return { kind: 'management', hub: hubs.get(parts[0].toLowerCase()) };
  const hub = hubs.get(parts[0].toLowerCase());
  if (!hub) return { kind: 'unknown' };
  if (parts.length === 1) return { kind: 'hub', hub };
  const id = /^\d+$/.test(parts.at(-1)) ? Number(parts.at(-1)) : -1;
  const partition = hub.partitions[id];
  if (!partition) return { kind: 'unknown' };
  const word = (i) => parts[i].toLowerCase();
  if (parts.length === 3 && word(1) === 'partitions') return { kind: 'partition', hub, partition, id };
  if (parts.length === 5 && word(1) === 'consumergroups' && word(3) === 'partitions') {
    return { kind: 'reader', hub, group: parts[2], partition, id };
  }
  return { kind: 'unknown' };
}

const knownGroup = (name) =>
  flags.group.length === 0 || [...flags.group, '$default'].some((g) => g.toLowerCase() === name.toLowerCase());

// mirror answers an attach with the settle modes and ends that were asked for:
// the Go client detaches from anything else.
function mirror(link) {
  const asked = link.remote.attach;
  for (const field of ['snd_settle_mode', 'rcv_settle_mode']) {
    if (asked[field] !== undefined && asked[field] !== null) link.local.attach[field] = asked[field];
  }
  if (asked.source) link.set_source(asked.source);
  if (asked.target) link.set_target(asked.target);
  link.local.attach.max_message_size = MAX_MESSAGE_SIZE;
}

// refuse answers an attach without source and target and detaches at once, as
// AMQP wants it for an end that does not exist.
function refuse(link, condition, description) {
  link.local.attach.source = undefined;
  link.local.attach.target = undefined;
  detach(link, condition, description);
}

// detach closes a link that is, or is about to be, open. A reader that may not
// have its partition is let in and put out: the clients take only that for a
// loss of ownership.
function detach(link, condition, description) {
  link.close({ condition, description });
}

// ---------------------------------------------------------------- readers

// pump sends to one reader what it has credit for, and no more than its socket
// can take: rhea would queue the rest in memory.
function pump(reader) {
  if (!reader.attached) return;
  const { link, partition } = reader;
  const { socket } = link.connection;
  const { outgoing } = link.session;
  if (partition.at(reader.next)?.bare.length < SMALL) {
    // rhea writes each frame on the next tick: make many small ones one write.
    socket.cork();
    process.nextTick(() => process.nextTick(() => socket.uncork()));
  }
  let room = WRITE_AHEAD - socket.writableLength;
  let credit = link.credit - (outgoing.next_delivery_id - outgoing.next_pending_delivery);
  while (!reader.closed && credit > 0 && outgoing.available() > 0) {
    const item = partition.at(reader.next);
    if (item === undefined) break;
    if (room <= 0) {
      reader.wait();
      return;
    }
    const bytes = annotated(item);
    link.send(bytes, undefined, 0).settled = true;
    reader.next = item.sequence + 1;
    room -= bytes.length;
    credit--;
  }
}

function openReader(link, { hub, group, partition, id }) {
  if (!knownGroup(group)) return refuse(link, 'amqp:not-found', `The messaging entity '${hub.name}/ConsumerGroups/${group}' could not be found.`);
  const asked = link.remote.attach;
  const epoch = asked.properties?.['com.microsoft:epoch'];
  const level = epoch === undefined || epoch === null ? undefined : Number(epoch);
  const peers = [...partition.readers].filter((r) => r.group === group.toLowerCase());
  const owner = peers.find((r) => r.level !== undefined);
  if (owner && (level === undefined || level < owner.level)) {
    return detach(link, 'amqp:link:stolen', `Receiver with a higher epoch of '${owner.level}' already exists on partition ${id}.`);
  }
  if (level === undefined && peers.length >= MAX_READERS) {
    return refuse(link, 'amqp:resource-limit-exceeded', `Exceeded the maximum number of ${MAX_READERS} receivers per partition in a consumer group.`);
  }
  const selector = Object.entries(asked.source?.filter ?? {}).find(([key]) => key.includes('selector-filter'))?.[1];
  const reader = { link, partition, group: group.toLowerCase(), level, next: 0, attached: false, closed: false, waiting: false };
  try {
    reader.next = partition.seek(selector?.valueOf()?.toString());
  } catch (e) {
    return refuse(link, 'amqp:invalid-field', e.message);
  }
  if (level !== undefined) {
    for (const peer of peers) {
      detach(peer.link, 'amqp:link:stolen', `New receiver with higher epoch of '${level}' is created on partition ${id}.`);
      close(peer);
    }
  }
  reader.wait = () => {
    if (reader.waiting) return;
    reader.waiting = true;
    const resume = () => {
      reader.waiting = false;
      if (!reader.closed) pump(reader);
    };
    // Frames reach the socket on the next tick; only then is it known whether
    // the socket took them or has to drain.
    setImmediate(() => {
      const { socket } = link.connection;
      if (socket.writableNeedDrain) socket.once('drain', resume);
      else resume();
    });
  };
  partition.readers.add(reader);
  // The .NET client gives credit in the same write as its attach. rhea would send
  // what is pumped now before its own attach, which it writes on the next tick.
  setImmediate(() => {
    reader.attached = true;
    if (!reader.closed) pump(reader);
  });
  link.on('sender_flow', () => pump(reader));
  link.on('sendable', () => pump(reader));
  link.on('sender_draining', () => link.set_drained(true));
  link.on('sender_close', () => close(reader));
  link.reader = reader;
}

function close(reader) {
  reader.closed = true;
  reader.partition.readers.delete(reader);
}

// ---------------------------------------------------------------- writers

function store(to, context) {
  const add = (encoded, envelopeKey) => {
    const { bare, key = envelopeKey } = strip(encoded);
    return { bare, key };
  };
  let items;
  let key;
  if (context.delivery.format === BATCH_FORMAT) {
    const copy = Buffer.from(context.message); // the frame's buffer is larger than the message and must not be pinned
    items = [];
    for (const [code, start, end, value] of sections(copy)) {
      if (code === MESSAGE_ANNOTATIONS) key = partitionKey(copy.subarray(start, end));
      else if (code === DATA) items.push(add(binary(copy, value), key));
    }
  } else {
    const one = add(Buffer.from(context.message.encoded));
    key = one.key;
    items = [one];
  }
  const partition = to.partition ?? to.hub.pick(key);
  for (const item of items) partition.append(item.bare, item.key);
  for (const reader of partition.readers) pump(reader);
}

// ---------------------------------------------------------------- requests

// answer settles a request and sends the reply to the link that it names.
function answer(context, status, description, body) {
  const request = context.message;
  context.delivery.accept();
  let link;
  context.connection.each_sender((sender) => {
    if (sender.remote.attach?.target?.address === request.reply_to && !sender.is_closed()) link ??= sender;
  });
  link?.send({
    correlation_id: request.message_id,
    application_properties: {
      'status-code': types.wrap_int(status),
      'status-description': description,
    },
    body,
  });
}

function manage(context, hubOfLink) {
  const ask = context.message.application_properties ?? {};
  const hub = hubOfLink ?? hubs.get(String(ask.name ?? '').toLowerCase());
  if (!hub) return answer(context, 404, 'amqp:not-found: no such event hub');
  const base = { name: hub.name, type: ask.type };
  if (ask.type === 'com.microsoft:eventhub') {
    return answer(context, 200, 'OK', types.wrap_map({
      ...base,
      created_at: types.wrap_timestamp(hub.created),
      partition_count: types.wrap_int(hub.partitions.length),
      partition_ids: types.wrap_array(hub.partitions.map((_, i) => String(i)), 0xa1),
      georeplication_factor: types.wrap_int(1),
    }));
  }
  const partition = /^\d+$/.test(String(ask.partition)) ? hub.partitions[Number(ask.partition)] : undefined;
  if (ask.type !== 'com.microsoft:partition' || !partition) return answer(context, 404, 'amqp:not-found: no such partition');
  return answer(context, 200, 'OK', types.wrap_map({
    ...base,
    partition: String(ask.partition),
    begin_sequence_number: types.wrap_long(partition.begin),
    last_enqueued_sequence_number: types.wrap_long(partition.last.sequence),
    last_enqueued_offset: partition.last.offset,
    last_enqueued_time_utc: types.wrap_timestamp(partition.last.time),
    is_partition_empty: partition.head >= partition.items.length,
  }));
}

// ---------------------------------------------------------------- the server

const container = rhea.create_container({ id: 'podwatch-eventhub' });
container.sasl_server_mechanisms.enable_anonymous();
container.sasl_server_mechanisms.MSSBCBS = container.sasl_server_mechanisms.ANONYMOUS; // the .NET client's name for it

// receiver_open: a client sends to us. sender_open: a client reads from us.
container.on('receiver_open', ({ receiver: link }) => {
  mirror(link);
  const address = link.remote.attach.target?.address;
  const to = resolve(address);
  switch (to.kind) {
    case 'cbs':
      link.on('message', (context) =>
        flags.unauthorized ? answer(context, 401, 'InvalidSignature: the token has an invalid signature') : answer(context, 202, 'Accepted'));
      return;
    case 'management':
      link.on('message', (context) => manage(context, to.hub));
      return;
    case 'hub':
    case 'partition':
      link.on('message', (context) => {
        try {
          store(to, context);
          context.delivery.accept();
        } catch (e) {
          context.delivery.reject({ condition: 'amqp:decode-error', description: e.message });
        }
      });
      return;
    default:
      refuse(link, 'amqp:not-found', `The messaging entity '${address}' could not be found.`);
  }
});
container.on('sender_open', ({ sender: link }) => {
  mirror(link);
  const address = link.remote.attach.source?.address;
  const from = resolve(address);
  if (from.kind === 'reader') openReader(link, from);
  else if (from.kind !== 'cbs' && from.kind !== 'management') refuse(link, 'amqp:not-found', `The messaging entity '${address}' could not be found.`);
});

// A client that goes away without a word takes its readers with it.
const forget = (links) => links.each_sender((link) => link.reader && close(link.reader));
container.on('session_close', ({ session }) => forget(session));
for (const event of ['disconnected', 'connection_close']) container.on(event, ({ connection }) => forget(connection));
// An event without a listener would end the process; a broken client must not.
for (const event of ['connection_error', 'session_error', 'sender_error', 'receiver_error', 'protocol_error', 'error']) {
  container.on(event, () => {});
}

const server = container.listen({
  host: '127.0.0.1',
  port: Number(flags.port),
  receiver_options: { autoaccept: false, credit_window: 100 },
  tcp_no_delay: true,
});
server.on('error', (e) => {
  console.error(`eventhub: listen on 127.0.0.1:${flags.port}: ${e.message}`);
  process.exit(1);
});
server.on('listening', () => console.log(`ready 127.0.0.1:${server.address().port}`));

const stop = () => process.exit(0);
process.on('SIGINT', stop);
process.on('SIGTERM', stop);
if (flags['exit-with-stdin']) process.stdin.resume().on('end', stop).on('error', stop);
