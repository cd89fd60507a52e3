// The openai package from npm, unmodified, as a program would use it. Each line of input is a request {id, scenario, …}; lines
// of output are {id, value} and at last {id, value, last: true}. An error of the SDK is the value {error: {class, …}}.
const OpenAI = require('openai');

// One scenario: what it was given, a client of its own, and where its values go.
function scenariosOf(given, tell) {
const client = new OpenAI({baseURL: given.url, apiKey: given.key ?? 'any', maxRetries: given.retries ?? 0, defaultQuery: given.user ? {user: given.user} : {},
                           defaultHeaders: given.headers, timeout: 60000});
const ask = (more) => ({model: given.model, messages: [{role: 'user', content: given.text ?? 'hello'}], ...given.more, ...more});
const request = (more) => ({model: given.model, input: given.text ?? 'hello', ...given.more, ...more});

// Reads events until there are `most`, or all; returns what they come to.
async function read(stream, most = Infinity) {
  const seen = {types: [], numbers: [], text: '', response: null};
  for await (const event of stream) {
    seen.types.push(event.type);
    seen.numbers.push(event.sequence_number);
    if (event.type === 'response.output_text.delta') seen.text += event.delta;
    if (event.response) seen.response = event.response;
    if (seen.numbers.length >= most) break;
  }
  return seen;
}

return {
  async models() {
    const all = [];
    for await (const model of client.models.list()) all.push(model);
    tell({all, one: await client.models.retrieve(given.model)});
  },
  async chat() {
    const {data, response, request_id} = await client.chat.completions.create(ask()).withResponse();
    tell({data, request_id, headers: Object.fromEntries(response.headers)});
  },
  async chat_stream() {
    const seen = {content: '', thoughts: '', pieces: 0, finish: [], usage: null, roles: []};
    const stream = await client.chat.completions.create(ask({stream: true, stream_options: {include_usage: true}}));
    for await (const chunk of stream) {
      const choice = chunk.choices[0];
      if (chunk.usage) seen.usage = chunk.usage;
      if (!choice) continue;
      if (choice.delta.role) seen.roles.push(choice.delta.role);
      if (choice.delta.content) { seen.content += choice.delta.content; seen.pieces++; }
      seen.thoughts += choice.delta.reasoning_content ?? '';
      if (choice.finish_reason) seen.finish.push(choice.finish_reason);
    }
    tell(seen);
  },
  async chat_helper() {  // the accumulating helper checks the order of chunks
    const runner = client.chat.completions.stream(ask());
    tell({content: (await runner.finalChatCompletion()).choices[0].message.content});
  },
  async chat_abort() {
    const stream = await client.chat.completions.create(ask({stream: true}));
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    tell('left');
  },
  async response() { tell(await client.responses.create(request())); },
  async response_stream() { tell(await read(await client.responses.create(request({stream: true})))); },
  async response_helper() {
    const final = await client.responses.stream(request()).finalResponse();
    tell({status: final.status, text: final.output.map((item) => item.content[0].text).join('')});
  },
  async background() {
    let response = await client.responses.create(request({background: true}));
    const first = response.status;
    while (['queued', 'in_progress'].includes(response.status)) {
      await new Promise((done) => setTimeout(done, 50));
      response = await client.responses.retrieve(response.id);
    }
    const next = await client.responses.create({...request({previous_response_id: response.id}), input: 'and then?'});
    tell({first, response, text: response.output_text, next: next.output_text});
  },
  async resume() {  // cut after some events; the rest begins behind the last one, and the whole is the same each time
    const part = await read(await client.responses.create(request({background: true, stream: true})), given.cut);
    const rest = await read(await client.responses.retrieve(part.response.id,
      {stream: true, starting_after: part.numbers.at(-1)}));
    const whole = await read(await client.responses.retrieve(part.response.id, {stream: true}));
    tell({part, rest, whole});
  },
  async outlive() {  // the service goes away in mid-stream; we come back behind what we have
    const seen = {numbers: [], types: [], text: '', id: null, breaks: 0};
    let stream = await client.responses.create(request({background: true, stream: true}));
    for (;;) {
      try {
        for await (const event of stream) {
          seen.id ??= event.response?.id;
          seen.numbers.push(event.sequence_number);
          seen.types.push(event.type);
          if (event.type === 'response.output_text.delta') { seen.text += event.delta; tell({got: event.delta}); }
        }
        if (seen.types.at(-1) === 'response.completed') break;
      } catch (error) { if (!(error instanceof TypeError) && !(error instanceof OpenAI.APIConnectionError)) throw error; }
      seen.breaks++;
      stream = await client.responses.retrieve(seen.id, {stream: true, starting_after: seen.numbers.at(-1)}, {maxRetries: 20});
    }
    tell(seen);
  },
  async cancel() {
    const response = await client.responses.create(request({background: true}));
    tell({cancelled: await client.responses.cancel(response.id), after: await client.responses.retrieve(response.id)});
  },
  async remove() {
    const response = await client.responses.create(request());
    await client.responses.delete(response.id);
    await client.responses.retrieve(response.id);
  },
  async crowd() {  // several at once: what was refused, and then that the SDK gets them all by waiting
    const all = () => Promise.allSettled([1, 2, 3, 4].map(() => client.models.list()));
    const refused = (await all()).filter((one) => one.status === 'rejected').map((one) => failure(one.reason).error);
    client.maxRetries = 9;
    tell({refused, then: (await all()).map((one) => one.status)});
  },
  async keyed() {  // the same request under one key, as a retry would send it
    const options = {headers: {'Idempotency-Key': given.idempotency}};
    const chat = () => client.chat.completions.create(ask(), options);
    const streamed = async () => {
      let text = '', id;
      for await (const chunk of await client.chat.completions.create(ask({stream: true}), options)) {
        id = chunk.id;
        text += chunk.choices[0]?.delta.content ?? '';
      }
      return {id, text};
    };
    const respond = () => client.responses.create(request(), {headers: {'Idempotency-Key': given.idempotency + ' response'}});
    tell({chats: await Promise.all([chat(), chat()]), again: await chat(), streamed: await streamed(),
          responses: [await respond(), await respond()],
          other: await client.chat.completions.create(ask({messages: [{role: 'user', content: 'other'}]}), options).catch(failure)});
  },
  async items() {
    const content = [{type: 'input_text', text: 'what is it?'}, {type: 'input_image', image_url: given.image, detail: 'low'},
                     {type: 'input_file', filename: 'a.txt', file_data: 'data:text/plain;base64,QUJD'}];
    const input = [{role: 'user', content: 'first'}, {role: 'assistant', content: 'an answer'}, {role: 'user', content}];
    const made = await client.responses.create(request({input, instructions: 'be short'}));
    const all = async (query) => { const list = []; for await (const item of client.responses.inputItems.list(made.id, query)) list.push(item); return list; };
    tell({newest: await all(), oldest: await all({order: 'asc'}), paged: await all({limit: 1})});
  },
  async retrieve_stream() { tell(await read(await client.responses.retrieve(given.id, {stream: true}))); },
  async retrieve() { tell(await client.responses.retrieve(given.id)); },
};

}

const failure = (error) => ({error: {
  class: error.constructor.name, status: error.status ?? null, code: error.code, type: error.type, param: error.param,
  message: error.message, headers: error.headers ? Object.fromEntries(error.headers) : {}}});

async function play(given) {
  let last = null;
  const tell = (value) => process.stdout.write(JSON.stringify({id: given.id, value: last = value}) + '\n');
  try { await scenariosOf(given, tell)[given.scenario](); } catch (error) {
    last = error instanceof OpenAI.APIError ? failure(error) : {crash: String(error.stack)};
  }
  process.stdout.write(JSON.stringify({id: given.id, value: last, last: true}) + '\n');
}

require('readline').createInterface({input: process.stdin}).on('line', (line) => play(JSON.parse(line)));
