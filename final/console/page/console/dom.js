// Elements, made without markup: what comes from outside is only ever text.

const SVG = 'http://www.w3.org/2000/svg';

/** h makes an HTML element; see fill for the attributes and children. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** s makes an SVG element. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** fill sets attributes (a function is a listener, null and false are left out) and appends children (text or nodes). */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** setText changes an element's text only where it differs: a screen reader hears changes alone. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** setAttribute is the same for an attribute; null removes it. */
export function setAttribute(element, name, value) {
  if (value === null) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, value);
  }
}

/** calm reports whether the reader has asked for less motion. */
export function calm() {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}
