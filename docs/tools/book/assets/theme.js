// Before the first paint, so that nothing moves: the typefaces, and the theme that the reader chose, if any.
(function () {
  document.documentElement.classList.add("js");
  document.fonts.forEach(function (face) { face.load(); });
  try {
    var theme = localStorage.getItem("microcomm-theme");
    if (theme) document.documentElement.setAttribute("data-theme", theme);
    if (localStorage.getItem("microcomm-stage") > 0) document.documentElement.classList.add("returning"); // room for a link
  } catch (e) { /* a browser may refuse to store anything for files */ }
})();
