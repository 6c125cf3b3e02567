// Searches the sections of all pages, as one types. What a link leads to is below this folder.
(function () {
  "use strict";
  var form = document.querySelector(".searching");
  var field = form.querySelector("input");
  var status = document.querySelector(".found");
  var list = document.querySelector(".results");
  // Names such as StreamPlatforms, retry_queue and rest.go are found by their parts, too.
  function tokens(text) {
    var words = text.split(/[^\p{L}\p{N}_.\-/]+/u), all = [];
    words.forEach(function (word) {
      var whole = word.replace(/^[.\-/]+|[.\-/]+$/g, "");
      if (!whole) return;
      all.push(whole);
      var parts = whole.split(/[_.\-/]|(?<=\p{Ll})(?=\p{Lu})/u);
      if (parts.length > 1) parts.forEach(function (part) { if (part.length > 1) all.push(part); });
    });
    return all;
  }
  // What the code declares: a name, its kind, and its line in each stage that has it.
  Object.keys(searchDeclarations).forEach(function (file) {
    searchDeclarations[file].forEach(function (d) {
      var places = d[2].split(" ").map(function (place) {
        var at = place.split(":"), stage = searchStages[at[0]];
        return { stage: stage, url: "code/" + stage + "/" + file + ".html#L" + at[1] };
      });
      searchIndex.push({ id: searchIndex.length, url: places[0].url, page: d[0], kind: "declaration", where: d[1] + " " + file, places: places });
    });
  });
  var index = new MiniSearch({
    fields: ["page", "section", "text", "where"], tokenize: tokens,
    searchOptions: {
      prefix: function (term) { return term.length > 2; }, fuzzy: function (term) { return term.length > 5 ? 1 : false; },
      combineWith: "AND", boost: { page: 3, section: 3 },
      boostDocument: function (id, term) {
        var e = searchIndex[id];
        if (e.kind === "declaration") return e.page.toLowerCase().split(".").pop() === term ? 1 : 0.2;
        if (e.kind === "code" || e.kind === "tree") return 0.15;
        return (e.kind === "lesson" || e.kind === "piece" ? 1.5 : 1) * ((e.section || e.page).toLowerCase() === term ? 2 : 1);
      },
    },
  });
  index.addAll(searchIndex);

  // The part of a text around the first of the words, with the words marked.
  function excerpt(text, words) {
    words = words.slice().sort(function (a, b) { return b.length - a.length; });
    var any = new RegExp("(" + words.map(function (w) { return w.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"); }).join("|") + ")", "giu");
    var low = text.toLowerCase();
    var at = words.map(function (w) { return low.indexOf(w.toLowerCase()); }).find(function (i) { return i >= 0; });
    var from = at > 90 ? text.lastIndexOf(" ", at - 70) + 1 : 0;
    var part = (from > 0 ? "… " : "") + text.slice(from, from + 230) + (text.length > from + 230 ? " …" : "");
    var p = document.createElement("p");
    part.split(any).forEach(function (piece, i) {
      if (i % 2 === 0) { p.append(piece); return; }
      var mark = document.createElement("mark");
      mark.textContent = piece;
      p.append(mark);
    });
    return p;
  }
  function result(found) {
    var e = searchIndex[found.id], item = document.createElement("li"), link = document.createElement("a"), where = document.createElement("span");
    link.href = e.url;
    link.textContent = e.section || e.page;
    if (e.places) {
      where.append(e.where + " ");
      e.places.forEach(function (place) {
        var to = document.createElement("a");
        to.href = place.url;
        to.textContent = place.stage;
        where.append(" · ", to);
      });
    } else where.textContent = (e.section && e.page !== e.stage ? e.page + " · " : "") + (e.kind === "code" ? "file of " : "") + (e.stage || e.kind);
    item.append(link, where);
    if (e.text) item.append(excerpt(e.text, found.terms));
    return item;
  }
  function run() {
    var words = field.value.trim();
    var found = words ? index.search(words.slice(0, 200)) : [];
    list.replaceChildren.apply(list, found.slice(0, 40).map(result));
    status.textContent = !words ? "" : found.length === 0 ? "Nothing found. Try fewer words, or shorter ones." :
      found.length > 40 ? "The best 40 of " + found.length : found.length + " found";
  }
  var waiting;
  field.addEventListener("input", function () { clearTimeout(waiting); waiting = setTimeout(run, 120); });
  form.addEventListener("submit", function (event) {
    event.preventDefault();
    try { history.replaceState(null, "", "?q=" + encodeURIComponent(field.value)); } catch (e) { /* not for files */ }
    run();
  });
  field.value = new URLSearchParams(location.search).get("q") || "";
  run();
  if (!field.value) field.focus();
})();
