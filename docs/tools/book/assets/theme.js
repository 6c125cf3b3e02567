// Before the first paint: the theme that the reader chose, if any.
(function () {
  try {
    var theme = localStorage.getItem("microcomm-theme");
    if (theme) document.documentElement.setAttribute("data-theme", theme);
  } catch (e) { /* a browser may refuse to store anything for files */ }
})();
