// Talks to the server that brought this page.

/// What the server refused, in its own words. `status` is HTTP's, `code` the error's name, `promptTokens` and
/// `window` the counts of a prompt that is too long.
export class ServerError extends Error {
  constructor(status, error) {
    super(error?.message ?? `The server answered with status ${status}.`);
    this.status = status;
    this.code = error?.code ?? null;
    this.promptTokens = error?.n_prompt_tokens ?? null;
    this.window = error?.n_ctx ?? null;
  }
}

/// The server was not reached at all.
export class ConnectionError extends Error {
  constructor() {
    super('The server does not answer. It may have been stopped; start it again and retry.');
  }
}

let key = null;
try {
  key = sessionStorage.getItem('longlora.key');
} catch {
  // Without storage the key is asked for again after a reload.
}

/// Sends this key from now on.
export function setKey(value) {
  key = value;
  try {
    sessionStorage.setItem('longlora.key', value);
  } catch {
    // It is used until the page is left.
  }
}

let askForKey = async () => false;

/// Whom to ask for a key: a function that resolves to whether one was set.
export function onKeyWanted(ask) {
  askForKey = ask;
}

/// Addresses are relative to the page, so that a reverse proxy may put it below any path.
const address = (route) => new URL(route, document.baseURI).href;

async function request(route, options = {}) {
  const headers = {...options.headers};
  const sentKey = key;
  if (sentKey) headers.Authorization = `Bearer ${sentKey}`;
  let response;
  try {
    response = await fetch(address(route), {cache: 'no-store', ...options, headers});
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ConnectionError();
  }
  if (response.ok) return response;
  // Several requests may be refused at once; those that come after the key was told try again with it.
  if (response.status === 401 && (key !== sentKey || (await askForKey()))) return request(route, options);
  let error = null;
  try {
    error = (await response.json()).error;
  } catch {
    // Something between page and server has answered.
  }
  throw new ServerError(response.status, error);
}

const postJson = (route, body) =>
  request(route, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)});

export const properties = async () => (await request('props')).json();

export async function countTokens(text) {
  return (await (await postJson('tokenize', {content: text})).json()).count;
}

/// Sends a file or text, whose form and encoding the server recognises: {name, text, tokens}.
export async function readDocument(name, content) {
  const response = await request(`documents?name=${encodeURIComponent(name)}`, {
    method: 'POST',
    headers: {'Content-Type': 'application/octet-stream'},
    body: content,
  });
  return response.json();
}

/// Begins an answer and returns the job's id.
export const beginJob = async (body) => (await (await postJson('jobs', body)).json()).id;

/// Ends a job; one that is gone is ended.
export async function endJob(id) {
  try {
    await request(`jobs/${encodeURIComponent(id)}`, {method: 'DELETE'});
  } catch (error) {
    if (error.status !== 404) throw error;
  }
}

/// The events of a stream as {id, name, data}. A block without data (a comment) is none.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const event = {id: null, name: 'message', data: ''};
      for (const line of block.split(/\r?\n/)) {
        const [, field, text] = line.match(/^(\w*):? ?(.*)$/) ?? [];
        if (field === 'id') event.id = Number(text);
        if (field === 'event') event.name = text;
        if (field === 'data') event.data += text;
      }
      if (event.data) yield {...event, data: JSON.parse(event.data)};
    }
  }
}

const pause = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), {once: true});
  });

/// Hears a job from its first event to the last, "done" or "error", whatever happens to the connection; each
/// event once. `hear` gets "lost" when the connection breaks. Ends early when the signal is aborted. Throws
/// ServerError when the server knows no such job.
export async function followJob(id, hear, signal) {
  let next = 0;
  let failures = 0;
  while (!signal.aborted) {
    try {
      const response = await request(`jobs/${encodeURIComponent(id)}/events?from=${next}`, {signal});
      for await (const event of events(response.body)) {
        next = (event.id ?? next) + 1;
        failures = 0;
        hear(event.name, event.data);
        if (event.name === 'done' || event.name === 'error') return;
      }
    } catch (error) {
      // A proxy's 502 while the server starts anew is a broken connection, too.
      if (error instanceof ServerError && error.status < 500) throw error;
    }
    if (signal.aborted) return;
    hear('lost', {});
    await pause(Math.min(250 * 2 ** failures++, 5000), signal);
  }
}
