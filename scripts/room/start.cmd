@echo off
rem Opens the notebooks in JupyterLab: double-click it.
setlocal
cd /d "%~dp0"
set PYTHONUTF8=1
if exist .venv\Scripts\jupyter.exe goto start
echo start: expected an installed HematoVision, but there is none here: install.cmd
pause
exit /b 1

:start
.venv\Scripts\jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks %*
exit /b %errorlevel%
