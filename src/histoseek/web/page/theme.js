// Runs before the first paint, so that a chosen theme does not flash; without a choice the system's holds.
const chosenTheme = localStorage.getItem('histoseek-theme');
if (chosenTheme === 'light' || chosenTheme === 'dark') document.documentElement.dataset.theme = chosenTheme;
