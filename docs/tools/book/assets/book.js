// What reads better with a script: the theme, copying, hints one by one, and where one is.
(function () {
  "use strict";
  var root = document.documentElement;
  function all(selector, within) { return Array.prototype.slice.call((within || document).querySelectorAll(selector)); }

  // The theme: that of the system, until the reader chooses.
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var button = document.querySelector(".theme");
  function isDark() {
    var chosen = root.getAttribute("data-theme");
    return chosen ? chosen === "dark" : dark.matches;
  }
  function label() { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", (isDark() ? "Light" : "Dark") + " theme"); }
  function show() {
    label();
    // An image for each theme follows the reader's choice, not only the system's.
    all('source[media*="prefers-color-scheme: dark"], source[data-dark]').forEach(function (source) {
      source.setAttribute("data-dark", "");
      source.media = isDark() ? "all" : "not all";
    });
    all(".recording iframe").forEach(function (frame) { frame.contentWindow.postMessage(isDark() ? "dark" : "light", "*"); });
  }
  // A recording is played in a page of its own, which the browser loads once it is near.
  all(".recording a").forEach(function (a) {
    var frame = document.createElement("iframe");
    frame.loading = "lazy";
    frame.title = a.title;
    frame.src = a.href + "#" + (isDark() ? "dark" : "light");
    a.parentElement.appendChild(frame);
  });
  show();
  dark.addEventListener("change", show);
  button.addEventListener("click", function () {
    var next = isDark() ? "light" : "dark";
    root.setAttribute("data-theme", next);
    try { localStorage.setItem("microcomm-theme", next); } catch (e) { /* for this page, then */ }
    show();
  });

  // The first page leads to the chapter that was read last.
  var stations = all(".stations a"), stage = all(".way > li").findIndex(function (li) { return li.className === "current"; });
  try {
    if (stage >= 0) localStorage.setItem("microcomm-stage", stage);
    var last = stations[localStorage.getItem("microcomm-stage") || 0];
    if (last && last !== stations[0]) {
      var again = document.createElement("a");
      again.href = last.href;
      again.textContent = "Continue with " + last.textContent.trim();
      document.querySelector(".begin").appendChild(again);
    }
  } catch (e) { /* then it begins */ }

  // "/" leads to the search.
  document.addEventListener("keydown", function (event) {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    var field = document.querySelector("#q, .find input");
    if (!field.checkVisibility({ visibilityProperty: true })) { location.href = document.querySelector(".look").href; return; }
    event.preventDefault();
    field.focus();
  });

  // Commands can be copied; output can't, since it isn't meant to be run.
  all(".block.command").forEach(function (block) {
    var copy = document.createElement("button");
    copy.type = "button";
    copy.className = "copy";
    copy.textContent = "Copy";
    copy.setAttribute("aria-label", "Copy the command");
    copy.addEventListener("click", function () {
      var text = block.querySelector("code").textContent;
      function done(said) {
        copy.textContent = said;
        setTimeout(function () { copy.textContent = "Copy"; }, 1600);
      }
      if (navigator.clipboard && window.isSecureContext) {
        navigator.clipboard.writeText(text).then(function () { done("Copied"); }, function () { select(block); done("Press Ctrl-C"); });
        return;
      }
      select(block);
      done(document.execCommand("copy") ? "Copied" : "Press Ctrl-C");
    });
    block.appendChild(copy);
  });
  function select(block) {
    var range = document.createRange();
    range.selectNodeContents(block.querySelector("code"));
    var selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  // Hints, one by one: the next one shows up when the one before was opened.
  all(".hints").forEach(function (hints) {
    var each = all("details", hints);
    each.forEach(function (hint, i) {
      hint.addEventListener("toggle", function () {
        if (hint.open && each[i + 1]) each[i + 1].classList.add("shown");
      });
    });
  });

  // A box that is wider than its place says so: it fades at the side to which it scrolls, and is
  // a stop for the keyboard with a name. One that isn't needs no stop.
  var boxes = all("pre[tabindex], .table[tabindex], .drawn[tabindex]");
  function edge(box) {
    var rest = box.scrollWidth - box.clientWidth;
    box.classList.toggle("more", rest > 1 && box.scrollLeft < rest - 1);
    box.classList.toggle("less", rest > 1 && box.scrollLeft > 1);
    if (rest > 1) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      if (box.tagName === "PRE") box.setAttribute("aria-label", "Code, scrolls sideways");
    } else if (box.clientWidth) {
      box.removeAttribute("tabindex");
    }
  }
  // The observer calls once at first, and again when a fold opens or the window changes.
  var sizes = new ResizeObserver(function (entries) { entries.forEach(function (entry) { edge(entry.target); }); });
  boxes.forEach(function (box) {
    sizes.observe(box);
    box.addEventListener("scroll", function () { edge(box); }, { passive: true });
  });

  // What a link leads to may be folded.
  function unfold() {
    var id = decodeURIComponent(location.hash.slice(1));
    var target = id && document.getElementById(id);
    if (!target) return;
    for (var at = target; at; at = at.parentElement) {
      at.classList.add("shown");
      if (at.tagName === "DETAILS") at.open = true;
    }
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", unfold);
  unfold();

  // The page's place in a long list of pages.
  var here = document.querySelector('.course ul [aria-current="page"]');
  var course = document.querySelector(".course");
  if (here && course.scrollHeight > course.clientHeight) course.scrollTop = here.offsetTop - course.clientHeight / 2;

  // Where one is, in the outline.
  var links = all(".outline a");
  var places = links.map(function (a) { return document.getElementById(decodeURIComponent(a.hash.slice(1))); });
  function mark() {
    var at = -1;
    places.forEach(function (h, i) { if (h && h.getBoundingClientRect().top < 140) at = i; });
    links.forEach(function (a, i) {
      if (i === at) a.setAttribute("aria-current", "location"); else a.removeAttribute("aria-current");
    });
  }
  if (links.length) {
    var waiting = false;
    window.addEventListener("scroll", function () {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(function () { waiting = false; mark(); });
    }, { passive: true });
    mark();
  }
})();
