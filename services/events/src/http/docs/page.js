// Draws the page from /openapi.json. Everything is put in as text, never as markup. Key and secret stay
// in this page's memory: they are neither stored nor put into an address.
'use strict';

const element = (name, text, ...children) => {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};

const field = (label, control) => element('label', label + ' ', control);

const input = (type, value = '') => Object.assign(document.createElement('input'), { type, value, autocomplete: 'off' });

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

const key = input('text');
const secret = input('password');

function responses(operation) {
  const table = element('table', '', element('tr', '', element('th', 'code'), element('th', 'when')));
  for (const [status, response] of Object.entries(operation.responses)) {
    table.append(element('tr', '', element('td', status), element('td', response.description)));
  }
  return table;
}

function trial(path, method, operation, example) {
  const form = element('form');
  const inPath = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
  const parameters = inPath.map(({ name }) => ({ name, control: input('text') }));
  for (const { name, control } of parameters) {
    control.required = true;
    form.append(field(name, control));
  }
  const body = operation.requestBody && element('textarea', JSON.stringify(example, null, 2));
  if (body) form.append(field('body', body));
  const answer = element('pre');
  form.append(element('button', 'Send'), answer);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    let target = path;
    for (const { name, control } of parameters) {
      target = target.replace(`{${name}}`, encodeURIComponent(control.value));
    }
    const headers = {};
    if (body) headers['content-type'] = 'application/json';
    if (operation.security) headers.authorization = `Basic ${base64(`${key.value}:${secret.value}`)}`;
    answer.textContent = '…';
    try {
      const response = await fetch(target, { method, headers, body: body?.value, credentials: 'omit' });
      answer.textContent = `${response.status} ${response.statusText}\n\n${await response.text()}`;
    } catch (error) {
      answer.textContent = String(error);
    }
  });
  return form;
}

function draw(api) {
  document.querySelector('#description').textContent = api.info.description;
  document.querySelector('#credential').append(field('Key', key), field('Secret', secret));
  const schemas = Object.entries(api.components.schemas);
  const example = schemas.map(([, schema]) => schema.examples?.[0]).find(Boolean) ?? {};
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const title = element('summary', '', element('b', method.toUpperCase()), element('code', path), ` ${operation.summary}`);
      const parts = [responses(operation), trial(path, method.toUpperCase(), operation, example)];
      document.querySelector('#operations').append(element('details', '', title, ...parts));
    }
  }
  for (const [name, schema] of schemas) {
    const details = element('details', '', element('summary', '', element('code', name)));
    details.append(element('pre', JSON.stringify(schema, null, 2)));
    document.querySelector('#schemas').append(details);
  }
}

fetch('openapi.json')
  .then((response) => response.json())
  .then(draw)
  .catch((error) => { document.querySelector('#description').textContent = String(error); });
