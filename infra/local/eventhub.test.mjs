// Speaks to the Event Hub stand-in at the address in EVENT_HUB, frame by frame, as
// Azure.Messaging.EventHubs 5.12 does: no answer is awaited before the next frame,
// where that client awaits none. The stand-in has the hub "podwatch" with two
// partitions and the consumer groups $Default and mine.
//
//   EVENT_HUB=127.0.0.1:PORT node --test infra/local/eventhub.test.mjs

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { test } from 'node:test';
import rhea from 'rhea';

const require = createRequire(import.meta.url);
const frames = require('rhea/lib/frames.js');
const terminus = require('rhea/lib/terminus.js');
const { types, message } = rhea;
const [HOST, PORT] = process.env.EVENT_HUB.split(':');
const [SASL, AMQP] = [3, 0].map((id) => Buffer.from([0x41, 0x4d, 0x51, 0x50, id, 1, 0, 0]));
const BATCH_FORMAT = 0x80013700;
const PARTITION = '/podwatch/ConsumerGroups/$Default/Partitions/0';
const STATUS_ACCEPTED = 0x24;

// A Client is one connection of the .NET client.
class Client {
  received = Buffer.alloc(0);
  frames = []; // that were not awaited yet
  wake = () => {};
  channels = 0;

  // open connects with a short idle timeout, so that empty frames come soon.
  static async open(t, idle = 30_000) {
    const c = new Client();
    c.socket = connect(Number(PORT), HOST);
    t.after(() => c.socket.destroy());
    await once(c.socket, 'connect');
    c.socket.on('data', (data) => c.read(data)).on('close', () => c.wake());
    c.socket.write(SASL);
    const offered = await c.next('sasl_mechanisms');
    assert.ok(offered.sasl_server_mechanisms.map(String).includes('MSSBCBS'));
    c.socket.write(frames.write_frame(frames.sasl_frame(frames.sasl_init({ mechanism: 'MSSBCBS' }).described())));
    assert.equal((await c.next('sasl_outcome')).code, 0);
    c.socket.write(AMQP);
    c.write([0, frames.open({ container_id: 'podwatch-1a2b3c4d', hostname: HOST, max_frame_size: 65536, channel_max: 8191, idle_time_out: idle, properties: { product: 'azsdk-net' } })]);
    assert.ok((await c.next('open')).container_id);
    return c;
  }

  read(data) {
    this.received = Buffer.concat([this.received, data]);
    while (this.received.length >= 8) {
      const header = this.received.indexOf('AMQP') === 0;
      const size = header ? 8 : this.received.readUInt32BE(0);
      if (this.received.length < size) break;
      if (!header) this.frames.push(frames.read_frame(this.received.subarray(0, size)));
      this.received = this.received.subarray(size);
    }
    this.wake();
  }

  // write sends frames, each [channel, performative, payload], in one write.
  write(...list) {
    this.socket.write(Buffer.concat(list.map(([channel, p, payload]) => frames.write_frame(frames.amqp_frame(channel, p.described(), payload)))));
  }

  // next returns the next frame, which must have this name; 'empty' is one without a
  // performative. Empty frames and flows are skipped where none is awaited.
  async next(name) {
    for (;;) {
      while (this.frames.length === 0) {
        assert.ok(!this.socket.destroyed, `the connection was closed before ${name} came`);
        await new Promise((resolve) => (this.wake = resolve));
      }
      const { performative = {}, payload } = this.frames.shift();
      const got = performative.constructor === Object ? 'empty' : String(performative.constructor).split('#')[0];
      if (got === name) return Object.assign(performative, { payload });
      assert.ok(got === 'empty' || got === 'flow', `${got} ${JSON.stringify(performative)} came instead of ${name}`);
    }
  }

  // session begins a session, of which the client has one for each link.
  async session() {
    const channel = this.channels++;
    this.write([channel, frames.begin({ next_outgoing_id: 1, incoming_window: 5000, outgoing_window: 5000, handle_max: 262143 })]);
    await this.next('begin');
    return channel;
  }

  // sender attaches a sender and returns a function that sends an encoded message.
  async sender(address, { settled = false } = {}) {
    const channel = await this.session();
    this.write([channel, frames.attach({
      name: `sender${channel}`, handle: 0, role: false, snd_settle_mode: settled ? 1 : 0, initial_delivery_count: 0,
      source: terminus.source({}).described(), target: terminus.target({ address }).described(),
      properties: { 'com.microsoft:entity-type': types.wrap_int(7), 'com.microsoft:timeout': types.wrap_uint(60_000) },
    })]);
    const reply = await this.next('attach');
    assert.deepEqual([reply.role, reply.snd_settle_mode], [true, settled ? 1 : 0]);
    assert.ok((await this.next('flow')).link_credit > 0);
    let id = 1;
    return async (payload, format = 0) => {
      this.write([channel, frames.transfer({ handle: 0, delivery_id: id, delivery_tag: Buffer.from(String(id++)), message_format: format, settled, batchable: true }), payload]);
      if (!settled) assert.equal(Number((await this.next('disposition')).state.descriptor.value), STATUS_ACCEPTED);
    };
  }

  // receive attaches a receiver and gives it credit in the same write.
  async receive(address, { filter, credit = 300, target = 'P0-owner', epoch } = {}) {
    const channel = await this.session();
    const selector = filter && { 'apache.org:selector-filter:string': types.wrap_described(filter, 'apache.org:selector-filter:string') };
    this.write(
      [channel, frames.attach({
        name: `receiver${channel}`, handle: 0, role: true, snd_settle_mode: 1, desired_capabilities: 'com.microsoft:georeplication',
        source: terminus.source({ address, ...(selector && { filter: selector }) }).described(), target: terminus.target({ address: target }).described(),
        properties: { 'com.microsoft:entity-type': types.wrap_int(8), 'com.microsoft:receiver-name': target, ...(epoch !== undefined && { 'com.microsoft:epoch': types.wrap_long(epoch) }) },
      })],
      [channel, frames.flow({ next_incoming_id: 1, incoming_window: 5000, next_outgoing_id: 1, outgoing_window: 5000, handle: 0, delivery_count: 0, link_credit: credit })],
    );
    const reply = await this.next('attach'); // fails where a transfer comes before it
    return Object.assign(reply, { channel });
  }

  // messages reads n messages of partition 0 and detaches, as a probe does.
  async messages(n, options) {
    const reply = await this.receive(PARTITION, { ...options, credit: n });
    assert.deepEqual([reply.role, reply.snd_settle_mode], [false, 1]);
    assert.ok(reply.source);
    const all = [];
    for (let i = 0; i < n; i++) {
      const transfer = await this.next('transfer');
      assert.equal(transfer.settled, true);
      all.push(transfer.payload);
    }
    this.write([reply.channel, frames.detach({ handle: 0, closed: true })]);
    await this.next('detach');
    return all;
  }

  // ask sends a request to $cbs or $management and returns its decoded answer.
  async ask(node, properties, body) {
    const answers = 'abcdef0123456789abcdef0123456789';
    const ask = await this.sender(node, { settled: true });
    await this.receive(node, { target: answers, credit: 50 });
    await ask(message.encode({ message_id: 'request1', reply_to: answers, application_properties: properties, ...(body && { body }) }));
    const answer = message.decode((await this.next('transfer')).payload);
    assert.equal(answer.correlation_id, 'request1');
    return answer;
  }
}

// encode writes sections, each [code, typed value].
function encode(...list) {
  const w = new types.Writer();
  for (const [code, value] of list) w.write(types.described(types.wrap_ulong(code), value));
  return w.toBuffer();
}
const data = (body) => [0x75, types.wrap_binary(Buffer.from(body))];
const body = (payload) => message.decode(payload).body.content.toString();
const bodies = (payloads) => payloads.map(body);

test('claims, properties, and frames that keep the connection', async (t) => {
  const c = await Client.open(t, 500);
  await c.next('empty');
  const token = await c.ask('$cbs', {
    operation: 'put-token', type: 'servicebus.windows.net:sastoken', name: `amqp://${HOST}${PARTITION}`, expiration: types.wrap_timestamp(Date.now() + 3600e3),
  }, 'SharedAccessSignature sr=x');
  assert.equal(token.application_properties['status-code'], 202);

  const read = { operation: 'READ', name: 'podwatch', security_token: 'x' };
  const hub = await c.ask('$management', { ...read, type: 'com.microsoft:eventhub' });
  assert.equal(hub.application_properties['status-code'], 200);
  assert.deepEqual([hub.body.partition_count, hub.body.partition_ids], [2, ['0', '1']]);
  const partition = await c.ask('$management', { ...read, type: 'com.microsoft:partition', partition: '1' });
  assert.equal(partition.body.is_partition_empty, true);
  const unknown = await c.ask('$management', { ...read, type: 'com.microsoft:partition', partition: '9' });
  assert.equal(unknown.application_properties['status-code'], 404);
  assert.match(unknown.application_properties['status-description'], /^amqp:not-found/);
});

test('batches, of one and of more, and what readers get', async (t) => {
  const c = await Client.open(t);
  const send = await c.sender('/podwatch/Partitions/0');
  // One message has format 0. Its bytes come back, whatever types they have.
  const properties = types.wrap_map({ id: types.wrap_uuid(Buffer.alloc(16, 7)), letter: types.wrap_char(0x41), count: types.wrap_ushort(3) });
  const one = encode([0x74, properties], data('one'));
  await send(Buffer.concat([encode([0x72, types.wrap_symbolic_map({ 'x-opt-partition-key': 'k' })]), one]));
  await send(Buffer.concat(['two', 'three'].map((text) => encode([0x75, types.wrap_binary(encode(data(text)))]))), BATCH_FORMAT);
  assert.equal((await c.messages(1))[0].subarray(-one.length).toString('hex'), one.toString('hex'));

  // Messages are waiting: none may come before the reply to the attach.
  for (let i = 0; i < 20; i++) assert.deepEqual(bodies(await c.messages(3, { filter: 'amqp.annotation.x-opt-offset > -1', epoch: 0 })), ['one', 'two', 'three']);

  const [first, second] = (await c.messages(2)).map((payload) => message.decode(payload).message_annotations);
  assert.equal(typeof first['x-opt-offset'], 'string');
  assert.equal(first['x-opt-partition-key'], 'k');
  assert.ok(first['x-opt-enqueued-time'] instanceof Date);
  assert.equal(second['x-opt-sequence-number'], first['x-opt-sequence-number'] + 1);
  for (const [filter, want] of [
    [`amqp.annotation.x-opt-offset > ${first['x-opt-offset']}`, 'two'],
    [`amqp.annotation.x-opt-offset >= ${first['x-opt-offset']}`, 'one'],
    [`amqp.annotation.x-opt-offset > '${first['x-opt-offset']}'`, 'two'],
    [`amqp.annotation.x-opt-sequence-number >= ${second['x-opt-sequence-number']}`, 'two'],
    [`amqp.annotation.x-opt-enqueued-time > ${first['x-opt-enqueued-time'].getTime() - 1}`, 'one'],
    ['amqp.annotation.x-opt-offset >= @latest', 'three'],
  ]) {
    assert.equal(body((await c.messages(1, { filter, target: 'SV-probe' }))[0]), want, filter);
  }
  await c.receive(PARTITION, { filter: 'amqp.annotation.x-opt-offset > @latest', target: 'late' });
  await send(encode(data('four')));
  assert.equal(body((await c.next('transfer')).payload), 'four');
});

test('owners, and what does not exist', async (t) => {
  const c = await Client.open(t);
  const other = '/podwatch/ConsumerGroups/mine/Partitions/1';
  await c.receive(other, { epoch: 0 });
  const newcomer = await Client.open(t);
  await newcomer.receive(other, { epoch: 0 });
  assert.equal((await c.next('detach')).error.condition, 'amqp:link:stolen');

  for (const address of ['/podwatch/ConsumerGroups/nobody/Partitions/0', '/podwatch/ConsumerGroups/$Default/Partitions/2', '/other/ConsumerGroups/$Default/Partitions/0']) {
    const reply = await newcomer.receive(address, { epoch: 0 });
    assert.ok(!reply.source?.address && !reply.target?.address, address);
    assert.equal((await newcomer.next('detach')).error.condition, 'amqp:not-found', address);
  }
});
