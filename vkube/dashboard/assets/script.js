// Brings the page up to date in place: what the reader has opened, focused, selected or scrolled to stays.
"use strict";

const SECONDS = 3;
const pause = document.getElementById("pause");
const connection = document.getElementById("connection");
let paused = false;

// Makes `old` like `next`. Elements with the same data-key or id are the same; those with data-keep are ours.
function update(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE || old.hasAttribute("data-keep")) return;
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  updateChildren(old, next);
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.dataset.key ?? node.id : "";
}

function same(one, other) {
  return one.nodeName === other.nodeName && keyOf(one) === keyOf(other);
}

function updateChildren(old, next) {
  const wanted = [...next.childNodes];
  const keys = new Set(wanted.map((node) => node.nodeName + keyOf(node)));
  for (const node of [...old.childNodes]) {
    if (keyOf(node) && !keys.has(node.nodeName + keyOf(node))) node.remove();
  }
  const keyed = new Map();
  for (const node of old.childNodes) if (keyOf(node)) keyed.set(node.nodeName + keyOf(node), node);
  let place = old.firstChild;
  for (const node of wanted) {
    let found = keyOf(node) ? keyed.get(node.nodeName + keyOf(node)) : null;
    if (!found && place && !keyOf(place) && same(place, node)) found = place;
    if (!found) {
      old.insertBefore(document.importNode(node, true), place);
      continue;
    }
    // Moving an element would take its focus: what stands before it is moved instead, where that can be.
    if (found !== place) {
      if (found.contains(document.activeElement)) {
        while (place && place !== found) {
          const after = place.nextSibling;
          if (keyOf(place)) old.append(place);
          else place.remove();
          place = after;
        }
      } else {
        old.insertBefore(found, place);
      }
    }
    place = found.nextSibling;
    update(found, node);
  }
  while (place) {
    const after = place.nextSibling;
    place.remove();
    place = after;
  }
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store", credentials: "omit" });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = next.title;
    for (const id of ["header", "main"]) {
      update(document.getElementById(id), next.getElementById(id));
    }
    connection.textContent = "";
    document.body.classList.remove("ended");
  } catch (error) {
    connection.textContent = "vkube dashboard does not answer: start it again. This is what it showed last.";
    document.body.classList.add("ended");
  }
}

async function repeat() {
  if (!paused && !document.hidden) await refresh();
  setTimeout(repeat, SECONDS * 1000);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Continue" : "Pause";
});
setTimeout(repeat, 1000);
