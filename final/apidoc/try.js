// Each operation's form: it sends the request, and keeps the curl command beside it up to date.
'use strict';

const token = document.getElementById('token');
const windows = navigator.userAgent.includes('Windows');

// quote makes one argument of text, for a Unix shell or for cmd.exe.
const quote = text => windows ? '"' + text.replaceAll('"', '\\"') + '"' : "'" + text.replaceAll("'", "'\\''") + "'";

// requestOf is what a form says.
function requestOf(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams(), headers = {};
  for (const input of form.querySelectorAll('input')) {
    if (input.dataset.in === 'path') path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (input.value && input.dataset.in === 'query') query.set(input.name, input.value);
    else if (input.value) headers[input.name] = input.value;
  }
  const body = form.elements.body?.value.trim();
  if (body) headers['Content-Type'] = form.elements.body.dataset.type;
  if (token?.value) headers.Authorization = 'Bearer ' + token.value;
  return { method: form.dataset.method, path: path + (query.size ? '?' + query : ''), headers, body: body || undefined };
}

function curlOf(form) {
  const request = requestOf(form);
  const address = form.dataset.base ? form.dataset.address : location.origin;
  const parts = ['curl -i ' + (/[?&]/.test(request.path) ? quote(address + request.path) : address + request.path)];
  if (request.method !== 'GET' && (request.method !== 'POST' || !request.body)) parts.push('-X ' + request.method);
  for (const [name, value] of Object.entries(request.headers)) {
    parts.push('-H ' + quote(`${name}: ${name === 'Authorization' ? 'Bearer $TOKEN' : value}`));
  }
  if (request.body) parts.push('-d ' + quote(oneLine(request.body)));
  return parts.join(windows ? ' ' : ' \\\n  ').replace("'Authorization: Bearer $TOKEN'", '"Authorization: Bearer $TOKEN"');
}

// oneLine is JSON on one line; what isn't JSON stays as it is.
function oneLine(text) {
  try { return JSON.stringify(JSON.parse(text)); } catch { return text; }
}

function element(name, attributes, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

// marked is JSON, indented and in colours; any other text stays as it is.
function marked(text) {
  try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { return [text]; }
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null|-?\d[\d.eE+-]*)\b/g)) {
    parts.push(text.slice(end, match.index), element('span', { className: match[2] ? 'k' : match[1] ? 's' : 'v' }, match[0]));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}

async function send(form) {
  const button = form.querySelector('button'), result = form.querySelector('.result');
  const { path, ...request } = requestOf(form);
  button.disabled = true;
  const began = performance.now();
  try {
    const response = await fetch(form.dataset.base + path, { ...request, cache: 'no-store', credentials: 'omit' });
    const text = await response.text();
    const status = element('b', { className: 'status s' + String(response.status)[0] }, `${response.status} ${response.statusText}`);
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n');
    result.replaceChildren(
      element('p', {}, status, element('small', {}, `${Math.round(performance.now() - began)} ms`)),
      element('pre', { tabIndex: 0 }, element('code', {}, ...(text ? marked(text) : ['no body']))),
      element('pre', { tabIndex: 0 }, element('code', {}, headers)));
  } catch (error) {
    result.replaceChildren(element('p', {}, element('b', { className: 'status s5' }, 'no response'), element('small', {}, error.message)));
  }
  button.disabled = false;
}

if (matchMedia('(max-width: 50rem)').matches) document.querySelector('nav details').open = false;
if (token) token.parentElement.hidden = false;
for (const form of document.forms) {
  const curl = form.parentElement.querySelector('.curl code'), copy = form.parentElement.querySelector('.copy');
  const show = () => { curl.textContent = curlOf(form); };
  form.hidden = copy.hidden = false;
  form.addEventListener('input', show);
  token?.addEventListener('input', show);
  form.addEventListener('submit', event => { event.preventDefault(); send(form); });
  copy.hidden = !navigator.clipboard;
  copy.addEventListener('click', async () => {
    await navigator.clipboard.writeText(curl.textContent);
    copy.firstChild.textContent = 'Copied';
    setTimeout(() => { copy.firstChild.textContent = 'Copy'; }, 1500);
  });
  show();
}

// The list of operations follows the reader.
const links = new Map([...document.querySelectorAll('nav li a')].map(link => [link.hash.slice(1), link]));
const seen = new Set();
const observer = new IntersectionObserver(changes => {
  for (const { target, isIntersecting } of changes) isIntersecting ? seen.add(target) : seen.delete(target);
  const first = [...document.querySelectorAll('article')].find(article => seen.has(article));
  for (const [id, link] of links) first?.id === id ? link.setAttribute('aria-current', 'true') : link.removeAttribute('aria-current');
}, { rootMargin: '-80px 0px -50% 0px' });
document.querySelectorAll('article').forEach(article => observer.observe(article));
