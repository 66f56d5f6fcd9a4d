/** preact and htm, from one place. */
import { h, render, Fragment } from '../vendor/preact.module.js';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from '../vendor/hooks.module.js';
import htm from '../vendor/htm.module.js';

const html = htm.bind(h);

export { html, render, Fragment, useEffect, useLayoutEffect, useMemo, useRef, useState };
