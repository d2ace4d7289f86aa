@echo off
rem The Makefile's targets for Windows: make book, make test, make lab. Needs Python and nothing else.
setlocal
cd /d "%~dp0"
set PYTHONUTF8=1
if not defined PYTHON set PYTHON=py -3
set BIN=.venv\Scripts
if /i "%~1"=="book" goto install
if /i "%~1"=="test" goto install
if /i "%~1"=="lab" goto install
echo make book    run the chain on the demo and build the book into _build\html
echo make test    run all tests
echo make lab     open the notebooks in JupyterLab
exit /b 2

:install
%PYTHON% scripts\install.py || exit /b 1
goto %~1

:book
%BIN%\hv run --profile demo --run demo || exit /b 1
%BIN%\hv book --run demo
exit /b %errorlevel%

:test
%BIN%\python -m pytest -n 2 --dist loadgroup
exit /b %errorlevel%

:lab
%BIN%\jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks
exit /b %errorlevel%
