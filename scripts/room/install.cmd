@echo off
rem Installs HematoVision from this folder alone, without a network: double-click it.
setlocal
cd /d "%~dp0"
set PYTHONUTF8=1
if defined PYTHON goto install
for %%v in (@PYTHONS@) do if not defined PYTHON py -%%v -c "" 2>nul && set PYTHON=py -%%v
if not defined PYTHON set PYTHON=python

:install
%PYTHON% scripts\install.py || goto failed
echo.
.venv\Scripts\hv doctor || goto failed
echo.
echo Installed. What to open next:
echo   book\index.html   in a browser: the pages of the lessons, with the quizzes
echo   start.cmd         the notebooks, in JupyterLab
pause
exit /b 0

:failed
echo install: not finished; what is missing stands above
pause
exit /b 1
