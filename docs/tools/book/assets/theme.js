// Before the first paint, so that nothing moves: the theme that the reader chose, if any.
(function () {
  document.documentElement.classList.add("js");
  try {
    var theme = localStorage.getItem("microcomm-theme");
    if (theme) document.documentElement.setAttribute("data-theme", theme);
  } catch (e) { /* a browser may refuse to store anything for files */ }
})();
