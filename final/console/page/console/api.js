// The services, at this page's own origin, with the access token if there is one.

let token = ''; // in memory alone: never in a URL, never stored

export const setToken = (value) => { token = value.trim(); };
export const getToken = () => token;

/** call sends a request and returns {status, ms, body, problem, headers}. It never throws: with status 0, problem says why nothing answered. */
export async function call(method, path, { body, headers = {} } = {}) {
  const started = performance.now();
  const request = { method, headers: { Accept: 'application/json', ...headers }, cache: 'no-store' };
  if (token) request.headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) {
    request.headers['Content-Type'] = 'application/json';
    request.body = JSON.stringify(body);
  }
  try {
    const response = await fetch(path, request);
    const text = await response.text();
    const ms = performance.now() - started;
    const json = parse(text);
    const problem = response.ok ? null : json ?? { title: response.statusText, status: response.status, detail: text.slice(0, 300) };
    return { status: response.status, ms, body: json, problem, headers: response.headers };
  } catch (error) {
    return { status: 0, ms: performance.now() - started, body: null, problem: { title: 'No answer', detail: String(error.message ?? error) }, headers: new Headers() };
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
