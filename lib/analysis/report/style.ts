import { COLOUR_CSS, FONT } from './theme.js';

/** The report's style sheet: one column, few sizes, no decoration; light, dark and print. */
export const STYLE = `${COLOUR_CSS}
*{box-sizing:border-box}
html{font:16px/1.5 ${FONT};background:var(--page);color:var(--ink);-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:58rem;padding:1.5rem 1.25rem 4rem;overflow-wrap:break-word}
a{color:inherit;text-decoration-color:var(--muted);text-underline-offset:.18em}
a:hover{text-decoration-color:currentColor}
:focus-visible{outline:2px solid var(--uniform);outline-offset:2px;border-radius:2px}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--page);padding:.25rem .5rem}
.kicker,.muted,figcaption,summary,.note{color:var(--muted)}
.kicker{margin:0 0 .6rem;font-size:.875rem}
h1{font-size:1.9rem;line-height:1.22;font-weight:650;letter-spacing:-.012em;margin:0 0 .6rem;max-width:46ch;text-wrap:balance}
.lead{font-size:1.0625rem;margin:0 0 1.4rem;max-width:68ch}
h2{font-size:1.25rem;line-height:1.3;font-weight:650;margin:3.2rem 0 .5rem;padding-top:.9rem;border-top:1px solid var(--rule)}
h3,.figure{font-size:1rem;line-height:1.4;font-weight:650;margin:1.8rem 0 .3rem;padding:0;border:0}
p{margin:.4rem 0;max-width:72ch}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;margin:1.6rem 0 0;padding:0;font-size:.9375rem}
figure{margin:1.6rem 0 0;break-inside:avoid}
figure .figure{margin:0 0 .4rem}
.chart{overflow-x:auto}
.chart svg{display:block;max-width:100%;height:auto;font-family:inherit}
figcaption{font-size:.875rem;line-height:1.45;margin:.45rem 0 0;max-width:80ch}
.key{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:.1rem 0 .5rem;padding:0;list-style:none;font-size:.8125rem;color:var(--muted)}
.key li{display:flex;align-items:center;gap:.4rem}
.key svg{width:14px;height:14px;flex:none}
table{border-collapse:collapse;font-size:.875rem;line-height:1.35;font-variant-numeric:tabular-nums lining-nums}
caption{text-align:left;color:var(--muted);padding-bottom:.4rem}
th,td{padding:.32rem .9rem .32rem 0;text-align:right;vertical-align:baseline;white-space:nowrap}
th:first-child,td:first-child,.left{text-align:left}
th{font-weight:500;color:var(--muted)}
tbody th{color:var(--ink);font-weight:400}
thead th{border-bottom:1px solid var(--rule);vertical-align:bottom}
tbody tr+tr>*{border-top:1px solid var(--grid)}
tbody.group>tr:first-child>*{border-top:1px solid var(--rule)}
.ci{color:var(--muted);font-size:.9em;margin-left:.35em}
.strong{font-weight:650}
tr.mark>*{background:var(--panel)}
.scroll{overflow-x:auto;margin-top:.9rem}
.tight th,.tight td{padding-right:.5rem}
.tight .ci{font-size:.85em;margin-left:.25em}
.answers table{font-size:.9375rem}
.answers td,.answers th{padding-top:.42rem;padding-bottom:.42rem}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.2rem;margin:1.2rem 0 0;font-size:.9375rem}
.facts dt{color:var(--muted)}.facts dd{margin:0;overflow-wrap:anywhere}
.warning{border-left:3px solid var(--greedy);padding:.1rem 0 .1rem .8rem;margin:.8rem 0}
details{margin:.5rem 0 0;font-size:.875rem}
summary{cursor:pointer;width:max-content;max-width:100%}
details[open]>summary{margin-bottom:.5rem}
details .scroll{max-height:24rem;overflow:auto}
details th,details td{font-size:.8125rem}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace;font-size:.9em;overflow-wrap:anywhere}
footer{margin-top:3rem;padding-top:.8rem;border-top:1px solid var(--rule);font-size:.8125rem;color:var(--muted)}
@media (max-width:40rem){.chart svg{min-width:36rem}body{padding:1rem .9rem 3rem}h1{font-size:1.5rem}.facts{grid-template-columns:1fr;gap:0}.facts dd{margin-bottom:.5rem}}
@media print{@page{margin:16mm 14mm}html{font-size:10pt}body{max-width:none;padding:0}nav,.skip,details:not([open]){display:none}h1{font-size:18pt}h2{margin-top:1.6rem}h2,h3{break-after:avoid}tr{break-inside:avoid}table,.answers table{font-size:8pt}th,td,.tight th,.tight td{padding:.2rem .4rem .2rem 0!important}.ci{display:inline-block;margin-left:.2em;white-space:nowrap}th,td{white-space:normal}.scroll,.chart{overflow:visible!important;max-height:none!important}}
`;
