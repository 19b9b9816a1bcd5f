// A page that needs no script but for its theme.
startTheme(() => {});
document.documentElement.dataset.ready = "yes";
